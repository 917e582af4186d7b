// SPDX-License-Identifier: MIT OR Apache-2.0
//! What xenman does for the shell it is typed in.

use crate::fake::{Host, Said, xenman};
use std::{
    os::unix::net::UnixListener,
    time::{Duration, Instant},
};

#[test]
fn scripts_and_the_manual_page_need_no_host() {
    let folder = tempfile::tempdir().unwrap();
    for (words, begin) in [
        ("completion bash", "# Completion of xenman for bash"),
        ("completion zsh", "#compdef xenman\n"),
        ("completion fish", "# Completion of xenman for fish"),
        ("man", ".ie \\n(.g"),
    ] {
        let said = Said::of(xenman(folder.path(), words).output().unwrap()).done();
        assert!(said.out.starts_with(begin), "{words}: {}", said.out);
    }
    let said = Said::of(xenman(folder.path(), "completion csh").output().unwrap());
    said.failed(2, "'csh' does not do for shell");
}

#[test]
fn names_are_those_of_the_host() {
    let host = Host::start();
    let names = |kind: &str| host.run(&format!("complete-names {kind}")).done().out;
    assert_eq!(names("domains"), "Domain-0\ndebian\n");
    assert_eq!(names("snapshots"), "evening\n");
    assert_eq!(names("images"), "");
    assert_eq!(names("frogs"), "");
    assert_eq!(names("hosts"), "");
    host.run("host add rack7 unix:/run/rack7.sock").done();
    assert_eq!(names("hosts"), "rack7\n");
    host.state().domains[1].name = "de\u{1b}bian".to_owned();
    assert_eq!(names("domains"), "Domain-0\n");
}

#[test]
fn without_a_host_there_are_no_names_and_no_complaint() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("silent.sock");
    let silent = UnixListener::bind(&socket).unwrap();
    for host in [
        String::new(),
        "-H unix:/nonexistent".to_owned(),
        "-H serial:/dev/nonexistent".to_owned(),
        format!("-H unix:{}", socket.display()),
    ] {
        let start = Instant::now();
        let words = format!("{host} complete-names domains");
        let said = Said::of(xenman(folder.path(), &words).output().unwrap()).done();
        assert_eq!((&*said.out, &*said.err), ("", ""), "{host}");
        assert!(start.elapsed() < Duration::from_secs(3), "{host}");
    }
    drop(silent);
}
