// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines that are saved on this computer, by their names.

use crate::fake::{Host, OWN};
use std::fs;

const FILE: &str = "own/snapshots/debian.snapshot.xm";

fn saved() -> Host {
    let host = Host::start();
    let said = host.run("save debian").done();
    let told = format!("saved to {}: 2560 KiB", host.path(FILE).display());
    assert!(said.out.starts_with(&told), "{said:?}");
    host
}

/// The rows of `snapshot list`, without their times.
fn rows(host: &Host) -> Vec<String> {
    let text = host.run("snapshot list").done().out;
    let rows = text.lines().skip(1);
    rows.map(|row| row.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
        .collect()
}

#[test]
fn a_domain_is_saved_and_restored_by_its_name() {
    let host = saved();
    assert_eq!(
        host.run("restore debian").done().out,
        "restored domain 'debian' with the number 8\n"
    );
    host.run("restore debain").failed(
        1,
        "cannot read debain: there is no such file\n  help: did you mean 'debian'?",
    );
    fs::create_dir(host.path("debian")).unwrap();
    host.run("restore debian").done();
    fs::remove_dir(host.path("debian")).unwrap();
    host.write("debian", "a file counts before a name");
    host.run("restore debian")
        .failed(1, "this is not a snapshot");
}

#[test]
fn a_domain_with_another_identity_is_not_overwritten() {
    let host = Host::start();
    let place = host.path("own/snapshots");
    fs::create_dir_all(&place).unwrap();
    fs::set_permissions(
        host.path(OWN),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    host.write(FILE, "something else");
    host.run("save debian")
        .failed(1, "is there, and of another domain");
    assert_eq!(
        fs::read_to_string(host.path(FILE)).unwrap(),
        "something else"
    );
    assert!(host.run("list").done().out.contains("debian"));
    fs::remove_file(host.path(FILE)).unwrap();
    host.run("save 3").done();
    assert!(host.path(FILE).exists(), "a number means the domain's name");
}

#[test]
fn an_older_one_of_the_same_domain_is_replaced() {
    let host = Host::start();
    let domain = host.state().domains.last().cloned().unwrap();
    host.run("save debian").done();
    let first = fs::read(host.path(FILE)).unwrap();
    host.state().domains.push(domain);
    host.run("save debian").done();
    assert_eq!(fs::read(host.path(FILE)).unwrap(), first);
}

#[test]
fn what_is_here_and_what_the_host_has_are_told_apart() {
    let host = saved();
    host.write("own/snapshots/odd.snapshot.xm", "no machine");
    host.write("own/snapshots/notes.txt", "no machine either");
    assert_eq!(
        rows(&host),
        [
            "evening store debian",
            "debian here debian",
            "odd here (damaged)"
        ]
    );
    let list = host.run("snapshot list --json").done().json();
    assert_eq!(
        (&list[0]["where"], &list[0]["label"]),
        (&"store".into(), &"evening".into())
    );
    let here = &list[1];
    assert_eq!(
        (&here["where"], &here["label"]),
        (&"here".into(), &"debian".into())
    );
    assert_eq!(here["path"], host.path(FILE).to_str().unwrap());
    assert_eq!(here["uuid"], "03030303-0303-0303-0303-030303030303");
    assert_eq!(here["memory_kib"], 2560);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let saved = here["saved_ns"].as_u64().unwrap() / 1_000_000_000;
    assert!((now - 600..=now).contains(&saved), "{here}");
    assert_eq!(list[2]["domain"], serde_json::Value::Null);
}

#[test]
fn a_saved_machine_is_deleted_where_it_is() {
    let host = saved();
    fs::copy(
        host.path(FILE),
        host.path("own/snapshots/evening.snapshot.xm"),
    )
    .unwrap();
    host.run("snapshot delete evening").failed(
        1,
        "'evening' is in the host's store and on this computer\n  help: say store:evening or here:evening",
    );
    host.run("snapshot delete store:evening").done();
    host.run("snapshot delete here:evening").done();
    host.run("snapshot delete debian").done();
    assert_eq!(rows(&host), ["evening store debian"]);
    host.run("snapshot delete here:debian")
        .failed(1, "there is no 'debian' in ");
    host.run("snapshot delete here:../xenman")
        .failed(1, "there is no ");
    host.run("snapshot delete evening").done();
}

#[test]
fn the_folder_and_the_names_are_the_operators_choice() {
    let host = Host::start();
    host.write(
        "xenman.conf",
        format!(
            "[PATHS]\nbase = {}\nsnapshots_dir = %(base)s/a/b\nsnapshot_file_ext = .vm\n",
            host.path("").display()
        ),
    );
    host.run("save debian").done();
    assert!(host.path("a/b/debian.vm").exists());
    host.run("restore debian").done();
    assert_eq!(rows(&host), ["evening store debian", "debian here debian"]);
}
