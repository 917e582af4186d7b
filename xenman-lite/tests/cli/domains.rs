// SPDX-License-Identifier: MIT OR Apache-2.0
//! Creating, attaching, saving and restoring domains, and being killed meanwhile.

use crate::fake::{Host, OWN, Said, arm64_image, manifest, xenman};
use mgmt_proto::{blob::CHUNK, snapshot::SnapshotReader};
use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// An arm64 Image of some chunks.
fn image() -> Vec<u8> {
    arm64_image((0..5 * CHUNK + 100).map(|i| (i % 253) as u8).collect())
}

const CONFIG: &str = "name = 'guest'\nmemory = 64\nkernel = 'Image'\nramdisk = 'initrd'\nvnc = 1\n";

fn host_with_files() -> Host {
    let host = Host::start();
    host.write("a.cfg", CONFIG);
    host.write("Image", image());
    host.write("initrd", b"an initrd of another kind");
    host
}

fn signal(child: &Child, name: &str) {
    assert!(
        Command::new("kill")
            .args([name, &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn creates_and_uploads_only_what_is_missing() {
    let host = host_with_files();
    let said = host.run("create a.cfg memory=96").done();
    assert_eq!(said.out, "created domain 'guest' with the number 5\n");
    assert_eq!(
        said.err.matches("'vnc' is ignored").count(),
        1,
        "{}",
        said.err
    );
    assert!(said.err.contains("warning: xend has something to say"));
    let put = host.state().chunks_put;
    assert_eq!(put, 7);
    let create = host.state().created[0].clone();
    assert!(create.config.ends_with("memory=96\n") && create.origin == "a.cfg" && !create.paused);
    assert_eq!(host.state().blobs[&create.files[0].blob], image());
    let again = host.run("create a.cfg name=other -p --json").done();
    assert_eq!(again.json()["name"], "other");
    assert_eq!(host.state().chunks_put, put, "uploaded again");
    assert!(host.state().created[1].paused);
    host.run("create a.cfg")
        .failed(1, "'guest' is there already\n  help: choose another name");
}

#[test]
fn names_of_the_host_are_passed_through() {
    let host = host_with_files();
    host.run("create a.cfg kernel=boot:Image ramdisk=").done();
    assert!(host.state().created[0].files.is_empty());
}

#[test]
fn what_is_wrong_here_is_found_before_the_host_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let run = |words: &str| Said::of(xenman(folder.path(), words).output().unwrap());
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    run("create nothing.cfg").failed(1, "cannot read nothing.cfg: there is no such file");
    write("a.cfg", CONFIG.as_bytes());
    run("create a.cfg").failed(
        1,
        "cannot read Image: there is no such file\n  help: look at 'kernel'",
    );
    write("Image", b"<html>not found</html>");
    run("create a.cfg").failed(1, "it is a text, not a kernel");
    write("Image", &image());
    write("initrd", b"\x1f\x8b\x08\x00");
    run("create a.cfg").failed(1, "the ramdisk initrd cannot be used: it is cut off");
    run("create a.cfg vif=['']").failed(1, "command line:1:1: 'vif' cannot be granted");
    write("b.cfg", b"name = 'guest'\nmemory = \n");
    let said = run("create b.cfg");
    assert_eq!(
        said.err,
        "xenman: b.cfg:2:9: expected a value after '='\n     2 | memory = \n       |         ^\n  \
         help: write a number, a quoted string or a list in [ ]\n"
    );
    assert_eq!(said.status, Some(1));
    write("b.cfg", &[b'#'; 70_000]);
    run("create b.cfg").failed(1, "longer than 64 KiB");
    run("config check a.cfg vcpus=99").failed(1, "'vcpus' is 99");
    assert!(
        run("config check a.cfg")
            .done()
            .out
            .contains("'guest' is described well")
    );
}

#[test]
fn a_kernel_for_another_processor_is_refused() {
    let host = host_with_files();
    let mut kernel = vec![0; 2048];
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    host.write("Image", kernel);
    host.run("create a.cfg").failed(
        1,
        "is an x86 bzImage, and the host needs an arm64 Linux Image",
    );
}

#[test]
fn an_upload_cut_off_creates_nothing() {
    let host = host_with_files();
    host.write("Image", [image(), vec![7; 200 * CHUNK]].concat());
    let mut child = host.command("create a.cfg").spawn().unwrap();
    host.wait_for("an upload", |state| state.chunks_put > 3);
    child.kill().unwrap();
    child.wait().unwrap();
    host.wait_for("the session's end", |state| state.sessions_ended > 0);
    assert!(host.state().created.is_empty() && host.state().blobs.is_empty());
    assert_eq!(host.run("domid debian").done().out, "3\n");
}

#[test]
fn a_console_is_dumped_even_when_its_domain_is_gone() {
    let host = Host::start();
    assert_eq!(
        host.run("console debian --dump").done().out,
        "Linux version 6\x1b[6n\r\n~ # "
    );
    host.state().domains.pop();
    assert!(
        host.run("console debian --dump --json").done().json()["text"]
            .as_str()
            .unwrap()
            .contains("~ #")
    );
    host.run("console nobody --dump")
        .failed(1, "there is no domain 'nobody'");
    host.run("console nobody")
        .failed(1, "there is no domain 'nobody'");
}

#[test]
fn a_pipe_is_typed_and_left_after_silence() {
    let host = Host::start();
    let said = host
        .type_into("console 3 --linger 1", b"echo a long line\n")
        .done();
    assert_eq!(said.out, "Linux version 6\x1b[6n\r\n~ # echo a long line\n");
    assert_eq!(host.state().typed, b"echo a long line\n");
}

#[test]
fn ctrl_bracket_leaves_at_once() {
    let host = Host::start();
    let start = Instant::now();
    host.type_into("console debian --linger 60", b"ls\n\x1dnever typed")
        .done();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_reboot_is_followed_and_an_end_noticed() {
    let host = Host::start();
    let said = host
        .type_into("console debian --linger 2", b"reboot\n")
        .done();
    assert!(
        said.out.ends_with("reboot\n\r\nsecond life\r\n"),
        "{said:?}"
    );
    let said = host
        .type_into("console debian --linger 60", b"poweroff\n")
        .done();
    assert!(said.err.contains("domain 'debian' is gone"), "{said:?}");
}

#[test]
fn a_terminal_is_raw_while_attached_and_itself_afterwards() {
    let host = Host::start();
    let script = format!(
        "stty -a > before; {} console debian; stty -a > after",
        env!("CARGO_BIN_EXE_xenman")
    );
    let mut command = Command::new("script");
    command
        .args(["-qec", &script, "/dev/null"])
        .current_dir(host.path(""))
        .env("XENMAN_HOME", host.path(OWN))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.env(
        "XENMAN_HOST",
        format!("unix:{}", host.path("xend.sock").display()),
    );
    let mut child = command.spawn().expect("`script` of util-linux is needed");
    let mut input = child.stdin.take().unwrap();
    let mut type_keys = |keys: &[u8]| std::io::Write::write_all(&mut input, keys).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    // Ctrl-C is the guest's.
    type_keys(b"\x03");
    host.wait_for("Ctrl-C for the guest", |state| state.typed == b"\x03");
    type_keys(b"\x1d");
    let said = Said::of(child.wait_with_output().unwrap()).done();
    assert!(
        said.out.contains("Ctrl-] leaves") && said.out.contains("~ # "),
        "{said:?}"
    );
    assert!(
        !said.out.contains("\x1b[6n"),
        "an old question was asked again"
    );
    let read = |name: &str| fs::read_to_string(host.path(name)).unwrap();
    assert!(read("before").contains(" icanon"));
    assert_eq!(read("before"), read("after"));
}

#[test]
fn saves_and_restores() {
    let host = Host::start();
    host.write("debian.save", "an older one, to be replaced");
    let said = host.run("save debian debian.save").done();
    assert!(
        said.out
            .starts_with("saved to debian.save: 2560 KiB of memory in "),
        "{said:?}"
    );
    assert!(!host.path("debian.save.partial").exists());
    assert!(host.run("list --json").json().as_array().unwrap().len() == 1);
    let bytes = fs::read(host.path("debian.save")).unwrap();
    let mut reader = SnapshotReader::new(&bytes[..]).unwrap();
    assert_eq!(reader.manifest(), &manifest());
    let mut indexes = Vec::new();
    while let Some((index, _)) = reader.next_chunk().unwrap() {
        indexes.push(index);
    }
    assert_eq!(indexes, [0, 1, 2, 3, 17, 18, 39]);
    assert_eq!(reader.root(), Some(host.state().root()));

    assert_eq!(
        host.run("restore debian.save -p").done().out,
        "restored domain 'debian' with the number 8\n"
    );
    assert_eq!(host.state().paused_restore, Some(true));
    assert_eq!(
        host.run("restore store:evening --json").done().json()["domid"],
        8
    );
    host.run("restore store:morning")
        .failed(1, "no snapshot has this label");
    assert!(
        host.run("save debian store:noon")
            .done()
            .out
            .contains("as 'noon'")
    );
}

#[test]
fn damaged_files_are_refused_without_a_host() {
    let host = Host::start();
    host.run("save debian debian.save").done();
    let whole = fs::read(host.path("debian.save")).unwrap();
    let restore = |bytes: &[u8]| {
        let path = host.write("bad.save", bytes);
        Said::of(
            xenman(
                path.parent().unwrap(),
                "restore bad.save -H unix:/nonexistent",
            )
            .output()
            .unwrap(),
        )
    };
    restore(&whole[..whole.len() - 1]).failed(1, "cut off");
    restore(&whole[..100]).failed(1, "cut off");
    restore(b"hello").failed(
        1,
        "this is not a snapshot\n  help: name a file that 'xenman save' wrote",
    );
    restore(&[&whole[..], b"x"].concat()).failed(1, "goes on after its end");
    for at in (16..whole.len()).step_by(whole.len() / 12) {
        let mut bad = whole.clone();
        bad[at] ^= 4;
        assert_eq!(restore(&bad).status, Some(1), "byte {at}");
    }
    assert_eq!(restore(&whole).status, Some(3));
    fs::rename(host.path("debian.save"), host.path("gone.save.partial")).unwrap();
    host.run("restore gone.save")
        .failed(1, "restore gone.save.partial");
}

/// Whether the domain runs on and no file is left under either name.
fn nothing_happened(host: &Host) {
    assert!(
        host.state()
            .domains
            .iter()
            .any(|domain| domain.name == "debian")
    );
    assert!(!host.path("out.save").exists() && !host.path("out.save.partial").exists());
}

#[test]
fn an_interrupted_save_leaves_no_file_and_the_domain_running() {
    let host = Host::start();
    host.state().stall_after = 4;
    let mut child = host
        .command("save debian out.save")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    host.wait_for("reading", |state| state.reads == 4);
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    host.wait_for("the session's end", |state| state.sessions_ended > 0);
    nothing_happened(&host);
}

/// What there is of the file is not called like one that is complete, and is gone with the next save.
#[test]
fn a_killed_save_ends_its_session_and_leaves_nothing_that_stays() {
    let host = Host::start();
    host.state().stall_after = 4;
    let mut child = host.command("save debian out.save").spawn().unwrap();
    host.wait_for("reading", |state| state.reads == 4);
    child.kill().unwrap();
    child.wait().unwrap();
    host.wait_for("the session's end", |state| state.sessions_ended > 0);
    assert!(!host.path("out.save").exists());
    host.state().stall_after = usize::MAX;
    host.run("save debian out.save").done();
    assert!(!host.path("out.save.partial").exists());
    let bytes = fs::read(host.path("out.save")).unwrap();
    assert!(SnapshotReader::new(&bytes[..]).is_ok());
}

#[test]
fn a_save_that_cannot_be_written_or_is_refused_leaves_the_domain_running() {
    let host = Host::start();
    host.run("save debian nowhere/out.save").failed(
        1,
        "cannot write nowhere/out.save.partial: there is no such file",
    );
    host.run("save debian .").failed(1, "it is a directory");
    host.run("save nobody out.save")
        .failed(1, "there is no domain 'nobody'");
    nothing_happened(&host);
    // As a full disk: no file may grow beyond 2 KiB.
    let mut command = host.shell("trap '' XFSZ; ulimit -f 4", "save debian out.save");
    let said = Said::of(command.output().unwrap());
    said.failed(1, "cannot write the file");
    assert!(said.err.contains("help: the domain runs on"), "{said:?}");
    assert_eq!(host.state().saves_aborted, 1);
    nothing_happened(&host);
    host.state().refuse_commit = true;
    host.run("save debian out.save")
        .failed(1, "the root does not match\n  help: the domain runs on");
    nothing_happened(&host);
}
