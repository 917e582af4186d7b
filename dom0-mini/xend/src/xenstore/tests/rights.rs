use super::{Guest, store_with_guest};
use crate::xenstore::wire::Kind;
use crate::xenstore::{Access, Permissions, Xenstore};
use alloc::format;
use alloc::string::{String, ToString};

#[test]
fn what_each_access_allows() {
    let mut store = Xenstore::default();
    let mut guest = Guest::introduce(&mut store, 5, 5);
    for (access, reads, writes) in [
        (Access::None, false, false),
        (Access::Read, true, false),
        (Access::Write, false, true),
        (Access::Both, true, true),
    ] {
        store.write("/tool/node/child", b"value").unwrap();
        store
            .set_permissions("/tool/node", Permissions::shared_with(5, access))
            .unwrap();
        let table = [
            (Kind::READ, "/tool/node\0", reads),
            (Kind::DIRECTORY, "/tool/node\0", reads),
            (Kind::DIRECTORY_PART, "/tool/node\x000\0", reads),
            (Kind::GET_PERMS, "/tool/node\0", reads),
            (Kind::WRITE, "/tool/node\0new", writes),
            (Kind::MKDIR, "/tool/node\0", writes),
            (Kind::MKDIR, "/tool/node/made\0", writes),
            (Kind::WRITE, "/tool/node/a/b\0c", writes),
            (Kind::RM, "/tool/node\0", writes),
            (Kind::SET_PERMS, "/tool/node\0n0\0b5\0", false),
        ];
        for (kind, payload, allowed) in table {
            let result = guest.ask(&mut store, kind, payload);
            let gone = kind == Kind::SET_PERMS && writes;
            let expected = if allowed || gone {
                result.clone()
            } else {
                Err("EACCES".to_string())
            };
            assert_eq!(result, expected, "{access:?} {kind:?} {payload:?}");
            assert_eq!(result.is_ok(), allowed, "{access:?} {kind:?} {payload:?}");
        }
        store.rm("/tool").unwrap();
    }
}

#[test]
fn errors_do_not_reveal_what_exists() {
    let (mut store, mut guest) = store_with_guest();
    store.write("/secret/there", b"").unwrap();
    for path in [
        "/secret/there\0",
        "/secret/missing\0",
        "/missing\0",
        "/local/domain/6/x\0",
    ] {
        assert_eq!(
            guest.ask(&mut store, Kind::READ, path),
            Err("EACCES".to_string()),
            "{path}"
        );
        assert_eq!(
            guest.ask(&mut store, Kind::RM, path),
            Err("EACCES".to_string()),
            "{path}"
        );
    }
}

#[test]
fn a_guest_cannot_write_where_it_only_reads() {
    let (mut store, mut guest) = store_with_guest();
    assert_eq!(
        guest.write(&mut store, "domid", "0"),
        Err("EACCES".to_string())
    );
    assert_eq!(
        guest.write(&mut store, "new", ""),
        Err("EACCES".to_string())
    );
    assert_eq!(
        guest.ask(&mut store, Kind::RM, "data\0"),
        Ok("OK\0".to_string()),
        "its own node"
    );
    assert_eq!(
        guest.write(&mut store, "/top", ""),
        Err("EACCES".to_string())
    );
}

#[test]
fn a_guest_owns_and_pays_for_what_it_creates_in_domain_0s_node() {
    let (mut store, mut guest) = store_with_guest();
    store.mkdir("/local/domain/5/control").unwrap();
    store
        .set_permissions(
            "/local/domain/5/control",
            Permissions::shared_with(5, Access::Both),
        )
        .unwrap();
    let before = store.usage(5);
    guest
        .write(&mut store, "control/platform/feature", "1")
        .unwrap();
    assert_eq!(
        store
            .permissions("/local/domain/5/control/platform")
            .unwrap()
            .owner,
        5
    );
    assert_eq!(store.usage(5).nodes, before.nodes + 2);
}

#[test]
fn only_the_owner_changes_permissions_and_only_domain_0_gives_away() {
    let (mut store, mut guest) = store_with_guest();
    guest.write(&mut store, "data/mine", "").unwrap();
    assert_eq!(
        guest.ask(&mut store, Kind::SET_PERMS, "data/mine\0n0\0"),
        Err("EPERM".to_string())
    );
    assert_eq!(
        guest.ask(&mut store, Kind::SET_PERMS, "domid\0b0\0"),
        Err("EACCES".to_string())
    );
    store
        .set_permissions("/local/domain/5/data/mine", Permissions::private(0))
        .unwrap();
    assert_eq!(
        guest.read(&mut store, "data/mine"),
        Err("EACCES".to_string())
    );
    assert_eq!(store.usage(5).nodes, 1);
}

#[test]
fn two_guests_meet_only_where_they_agree() {
    let mut store = Xenstore::default();
    let mut server = Guest::introduce(&mut store, 5, 5);
    let mut client = Guest::introduce(&mut store, 6, 6);
    let path = "/local/domain/5/data/offer";
    server.write(&mut store, path, "hello").unwrap();
    assert_eq!(client.read(&mut store, path), Err("EACCES".to_string()));
    server
        .ask(&mut store, Kind::SET_PERMS, &format!("{path}\0n5\0r6\0"))
        .unwrap();
    assert_eq!(client.read(&mut store, path).as_deref(), Ok("hello"));
    assert_eq!(
        client.write(&mut store, path, "no"),
        Err("EACCES".to_string())
    );
}

#[test]
fn special_names_have_permissions_too() {
    let (mut store, mut guest) = store_with_guest();
    let ask = |store: &mut Xenstore, guest: &mut Guest, kind, payload: &str| {
        guest.ask(store, kind, payload)
    };
    let denied: Result<String, String> = Err("EACCES".to_string());
    assert_eq!(
        ask(&mut store, &mut guest, Kind::GET_PERMS, "@releaseDomain\0"),
        denied
    );
    assert_eq!(
        ask(
            &mut store,
            &mut guest,
            Kind::SET_PERMS,
            "@releaseDomain\0b5\0"
        ),
        denied
    );
    store
        .set_permissions("@releaseDomain", Permissions::shared_with(5, Access::Read))
        .unwrap();
    assert_eq!(
        ask(&mut store, &mut guest, Kind::GET_PERMS, "@releaseDomain\0").as_deref(),
        Ok("n0\0r5\0")
    );
}
