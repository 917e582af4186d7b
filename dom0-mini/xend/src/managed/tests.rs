use super::{Managed, Record, path_of};
use crate::store::volume::File;
use mgmt_proto::blob::Digest;
use mgmt_proto::config::Policies;
use mgmt_proto::messages::{DomainKind, NamedBlob};
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

fn record(uuid: u8) -> Record {
    let file = NamedBlob {
        key: "kernel".into(),
        blob: Digest([7; 32]),
        length: 9,
    };
    Record::new([uuid; 16], vec![file], "a test".into(), Some(5))
}

fn text(name: &str) -> String {
    format!("name = '{name}'\nmemory = 2\nkernel = 'boot:Image'\n")
}

type Files = BTreeMap<String, File>;

fn file(content: Vec<u8>) -> File {
    File {
        content,
        blobs: Vec::new(),
    }
}

/// A store with these definitions.
fn files(definitions: &[(&str, String, Option<Vec<u8>>)]) -> Files {
    let mut files = Files::new();
    for (file, text, record) in definitions {
        let content = self::file(text.clone().into_bytes());
        files.insert(format!("/etc/xen/{file}"), content);
        let name = file.rsplit_once('.').unwrap().0;
        if let Some(record) = record {
            files.insert(
                format!("/var/lib/xend/domains/{name}"),
                self::file(record.clone()),
            );
        }
    }
    files
}

fn load(files: &Files) -> (Managed, Vec<String>) {
    Managed::load(files, &Policies::default())
}

#[test]
fn a_record_comes_back_as_it_went_and_damage_is_noticed_or_harmless() {
    let bytes = record(1).encode();
    assert_eq!(Record::decode(&bytes), Some(record(1)));
    for length in 0..bytes.len() {
        assert_eq!(Record::decode(&bytes[..length]), None);
    }
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let _ = Record::decode(&bad);
    }
}

#[test]
fn definitions_are_found_among_the_files_of_the_store() {
    let mut files = files(&[
        ("web.cfg", text("web"), Some(record(1).encode())),
        ("game.hvm", text("game"), Some(record(2).encode())),
    ]);
    files.insert("/etc/xen/xend-config.sxp".into(), file(Vec::new()));
    files.insert("/etc/xen/auto/x.cfg".into(), file(Vec::new()));
    files.insert("/etc/xen/.cfg".into(), file(Vec::new()));
    let (managed, remarks) = load(&files);
    assert_eq!(remarks, [""; 0]);
    let found: Vec<_> = managed.iter().map(|(name, it)| (name, &*it.path)).collect();
    let expected = [("game", "/etc/xen/game.hvm"), ("web", "/etc/xen/web.cfg")];
    assert_eq!(found, expected);
    let game = managed.get("game").unwrap().config.as_ref().unwrap();
    assert_eq!(game.kind, DomainKind::HVM);
    assert_eq!(managed.by_uuid(&[1; 16]).unwrap().0, "web");
}

#[test]
fn what_cannot_be_read_any_more_is_kept_and_says_why() {
    for (text, record_bytes, reason) in [
        (text("web"), None, "its record is missing"),
        (text("web"), Some(vec![0xff; 40]), "its record is damaged"),
        (
            "name = ".to_string(),
            Some(record(1).encode()),
            "expected a value",
        ),
        (
            text("other"),
            Some(record(1).encode()),
            "it is the one of a 'other'",
        ),
        (
            text("web"),
            Some(record(2).encode()),
            "'game' has the same UUID",
        ),
    ] {
        let files = files(&[
            ("game.hvm", self::text("game"), Some(record(2).encode())),
            ("web.cfg", text.clone(), record_bytes),
        ]);
        let (managed, remarks) = load(&files);
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(remarks[0].starts_with("/etc/xen/web.cfg: "), "{remarks:?}");
        assert!(remarks[0].contains(reason), "{remarks:?}");
        let web = managed.get("web").unwrap();
        assert!(web.config.as_ref().unwrap_err().contains(reason));
        assert_eq!(web.text, text);
        assert!(managed.get("game").unwrap().config.is_ok());
    }
}

#[test]
fn of_two_files_for_one_name_the_first_counts_and_the_other_is_told_of() {
    let files = files(&[
        ("web.cfg", text("web"), Some(record(1).encode())),
        ("web.hvm", text("web"), Some(record(1).encode())),
    ]);
    let (managed, remarks) = load(&files);
    assert_eq!(managed.get("web").unwrap().path, "/etc/xen/web.cfg");
    assert!(remarks[0].contains("is defined by /etc/xen/web.cfg already"));
}

#[test]
fn the_path_ends_as_the_file_did_or_as_the_type_wants() {
    for (origin, kind, path) in [
        ("a.hvm", DomainKind::HVM, "/etc/xen/web.hvm"),
        ("dir/a.cfg", DomainKind::HVM, "/etc/xen/web.cfg"),
        ("a.conf", DomainKind::HVM, "/etc/xen/web.hvm"),
        ("a.conf", DomainKind::PVH, "/etc/xen/web.cfg"),
    ] {
        assert_eq!(path_of("web", origin, kind), path, "{origin}");
    }
}
