// SPDX-License-Identifier: MIT OR Apache-2.0
//! Long work that is interrupted: nothing is left half done, here or on the host; and the progress that is shown of it.

use crate::fake::{Host, Said, arm64_image};
use mgmt_proto::messages::RequestBody;
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Work, the request that is not answered, and what is said of what is left.
type Work = (&'static str, fn(&RequestBody) -> bool, &'static str);

const LONG: [Work; 9] = [
    (
        "create a.cfg",
        |it| matches!(it, RequestBody::BlobPut(_)),
        "the host drops what it got",
    ),
    (
        "new a.cfg",
        |it| matches!(it, RequestBody::BlobPut(_)),
        "the host drops what it got",
    ),
    (
        "create b.cfg",
        |it| matches!(it, RequestBody::Create(_)),
        "the host may go on with it",
    ),
    (
        "start web",
        |it| matches!(it, RequestBody::Start(_)),
        "the host may go on with it",
    ),
    (
        "image add more --kernel Image",
        |it| matches!(it, RequestBody::BlobPut(_)),
        "the host drops what it got",
    ),
    (
        "image export debian out",
        |it| matches!(it, RequestBody::BlobRead(_)),
        "nothing was written",
    ),
    (
        "save debian out.save",
        |it| matches!(it, RequestBody::SaveRead(_)),
        "the domain runs on",
    ),
    (
        "save debian store:noon",
        |it| matches!(it, RequestBody::SaveToStore(_)),
        "the domain runs on, unless",
    ),
    (
        "restore in.save",
        |it| matches!(it, RequestBody::RestorePut(_)),
        "nothing was restored",
    ),
];

/// A host with an image, a managed domain, and a saved one.
fn host() -> Host {
    let host = Host::start();
    host.write("Image", arm64_image(vec![5; 400_000]));
    host.write("a.cfg", "name = 'guest'\nmemory = 64\nkernel = 'Image'\n");
    host.write(
        "b.cfg",
        "name = 'other'\nmemory = 64\nkernel = 'boot:Image'\n",
    );
    host.run("new a.cfg name=web").done();
    host.run("image add debian --kernel Image").done();
    host.run("save debian in.save").done();
    host.run("restore in.save").done();
    host.write("Image", arm64_image(vec![5; 500_000]));
    host.state().sessions_ended = 0;
    host
}

fn files(host: &Host) -> BTreeSet<String> {
    let all = fs::read_dir(host.path("")).unwrap();
    all.map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// What there is on the host: domains, definitions, images and blobs.
fn on_host(host: &Host) -> (String, usize, usize, usize) {
    let domains = host.run("list --json").done().out;
    let state = host.state();
    (
        domains,
        state.defined.len(),
        state.images.len(),
        state.blobs.len(),
    )
}

fn send(child: &Child, signal: &str) {
    let id = child.id().to_string();
    let kill = Command::new("kill").args([signal, &id]).status();
    assert!(kill.unwrap().success());
}

/// Starts work, and interrupts it when it hears nothing from the host.
fn interrupt(host: &Host, words: &str, stall: fn(&RequestBody) -> bool, signal: &str) -> Said {
    let before = host.state().sessions_ended;
    host.state().stall = Some(stall);
    let mut command = host.command(words);
    let piped = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = piped.spawn().unwrap();
    host.wait_for(words, |state| state.is_stalled);
    let start = Instant::now();
    send(&child, signal);
    let said = Said::of(child.wait_with_output().unwrap());
    assert!(start.elapsed() < Duration::from_secs(5), "{words}");
    host.wait_for("the session's end", |state| state.sessions_ended > before);
    host.state().stall = None;
    host.state().is_stalled = false;
    said
}

#[test]
fn what_is_interrupted_leaves_nothing_half_done() {
    let host = host();
    let (files_before, host_before) = (files(&host), on_host(&host));
    for (words, stall, left) in LONG {
        for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
            let said = interrupt(&host, words, stall, signal);
            said.failed(status, &format!("xenman: interrupted\n  help: {left}"));
            assert_eq!(said.out, "", "{words}");
            assert_eq!(files(&host), files_before, "{words}");
            assert_eq!(on_host(&host), host_before, "{words}");
        }
    }
}

/// Runs `xenman words` on a terminal, and types Ctrl-C when the host does not answer any more.
fn on_terminal(host: &Host, words: &str, stall: fn(&RequestBody) -> bool) -> Said {
    host.state().stall = Some(stall);
    let mut script = host.on_terminal(words);
    let piped = script.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().expect("`script` of util-linux is needed");
    host.wait_for(words, |state| state.is_stalled);
    // The bar is drawn before the request is sent, or a moment later.
    std::thread::sleep(Duration::from_millis(300));
    child.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
    let said = Said::of(child.wait_with_output().unwrap());
    host.state().stall = None;
    host.state().is_stalled = false;
    said
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let host = host();
    for (words, stall, what) in [
        (LONG[0].0, LONG[0].1, "kernel"),
        (LONG[5].0, LONG[5].1, "kernel"),
        (LONG[6].0, LONG[6].1, "saving"),
        (LONG[8].0, LONG[8].1, "restoring"),
    ] {
        let shown = on_terminal(&host, words, stall);
        assert_eq!(shown.status, Some(130), "{shown:?}");
        assert!(
            shown.out.contains(what) && shown.out.contains("interrupted"),
            "{shown:?}"
        );
        let piped = interrupt(&host, words, stall, "-INT");
        assert_eq!(piped.err.lines().count(), 2, "{piped:?}");
    }
}
