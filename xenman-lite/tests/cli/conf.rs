// SPDX-License-Identifier: MIT OR Apache-2.0
//! `xenman.conf` and the operator's folder.

use crate::fake::{Host, OWN, Said, arm64_image};
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
    thread,
    time::Duration,
};

/// The file in the operator's own folder.
const CONF: &str = "own/xenman.conf";

/// A host, and a file in the operator's folder.
fn host_with(text: &str) -> Host {
    let host = Host::start();
    make_own(&host);
    host.write(CONF, text);
    host
}

fn make_own(host: &Host) {
    fs::create_dir(host.path(OWN)).unwrap();
    fs::set_permissions(host.path(OWN), Permissions::from_mode(0o700)).unwrap();
}

fn read(host: &Host, name: &str) -> String {
    fs::read_to_string(host.path(name)).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The names of the hosts that are known.
fn hosts(host: &Host) -> Vec<String> {
    let list = host.run("host list --json").done().json();
    let list = list.as_array().unwrap().iter();
    list.map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Runs xenman without `XENMAN_HOST`.
fn run_without_host(host: &Host, words: &str) -> Said {
    let mut command = host.command(words);
    Said::of(command.env_remove("XENMAN_HOST").output().unwrap())
}

#[test]
fn the_file_in_this_folder_counts_before_the_operators_own() {
    let host = host_with("[own]\naddress = unix:/own\n");
    assert_eq!(hosts(&host), ["own"]);
    host.write("xenman.conf", "[here]\naddress = unix:/here\n");
    assert_eq!(hosts(&host), ["here"]);
    host.run("host add more unix:/more").done();
    assert_eq!(hosts(&host), ["here", "more"]);
    assert_eq!(read(&host, CONF), "[own]\naddress = unix:/own\n");
}

#[test]
fn a_broken_file_of_the_operators_own_is_put_aside() {
    let host = host_with("[rack7]\naddress = unix:/a\nnonsense\n");
    let said = host.run("domid debian").done();
    assert_eq!(said.out, "3\n");
    let told = "own/xenman.conf:3: expected '=' or ':'\n  it is ";
    assert!(
        said.err.contains(told) && said.err.contains("xenman.conf.bak now"),
        "{said:?}"
    );
    assert_eq!(
        read(&host, "own/xenman.conf.bak"),
        "[rack7]\naddress = unix:/a\nnonsense\n"
    );
    for section in [
        "ENVIRONMENT",
        "PATHS",
        "APPLICATION DATA",
        "CLIENT CONFIGURATION",
        "IMAGE STORE",
    ] {
        assert!(
            read(&host, CONF).contains(&format!("\n[{section}]\n")),
            "{section}"
        );
    }
    assert_eq!(mode(&host.path(CONF)), 0o600);
    assert_eq!(host.run("domid debian").done().err, "");
    host.write(CONF, "again = broken");
    let said = host.run("domid debian").done();
    assert!(
        said.err.contains(":1: there is no [section] before it"),
        "{said:?}"
    );
    assert_eq!(read(&host, "own/xenman.conf.bak.1"), "again = broken");
    assert!(read(&host, "own/xenman.conf.bak").starts_with("[rack7]"));
}

#[test]
fn a_broken_file_in_this_folder_is_told_of_and_left() {
    let host = host_with("[own]\naddress = unix:/own\n");
    host.write("xenman.conf", "[own\n");
    let said = host.run("host list").done();
    assert!(
        said.err.starts_with("xenman: ./xenman.conf:1: "),
        "{said:?}"
    );
    assert!(said.out.contains("unix:/own"), "{said:?}");
    assert_eq!(read(&host, "xenman.conf"), "[own\n");
    assert!(!host.path("xenman.conf.bak").exists());
}

#[test]
fn what_is_kept_is_the_operators_alone_whatever_the_umask() {
    for umask in ["0", "777"] {
        let host = Host::start();
        let mut command = host.shell(&format!("umask {umask}"), "host add rack7 unix:/a");
        Said::of(command.output().unwrap()).done();
        let mut command = host.shell(&format!("umask {umask}"), "save debian");
        Said::of(command.output().unwrap()).done();
        for folder in [OWN, "own/snapshots"] {
            assert_eq!(mode(&host.path(folder)), 0o700, "{folder}");
        }
        for file in [CONF, "own/xenman.log", "own/snapshots/debian.snapshot.xm"] {
            assert_eq!(mode(&host.path(file)), 0o600, "{file}");
        }
    }
}

#[test]
fn a_folder_that_others_may_write_to_is_not_used() {
    let host = host_with("[CLIENT CONFIGURATION]\ndefault_host = unix:/elsewhere\n");
    fs::set_permissions(host.path(OWN), Permissions::from_mode(0o777)).unwrap();
    let said = host.run("domid debian").done();
    assert!(
        said.err
            .contains("own is not used: others may write to it\n  help: chmod go-w "),
        "{said:?}"
    );
    run_without_host(&host, "list").failed(2, "is not used");
    host.run("host add rack7 unix:/a")
        .failed(1, "others may write to it");
    let files = fs::read_dir(host.path(OWN)).unwrap().count();
    assert_eq!(files, 1);
}

#[test]
fn without_any_folder_the_defaults_hold() {
    let host = Host::start();
    let run = |words: &str| {
        let mut command = host.command(words);
        Said::of(
            command
                .env_remove("HOME")
                .env_remove("XENMAN_HOME")
                .output()
                .unwrap(),
        )
    };
    let said = run("domid debian").done();
    assert_eq!((said.out.as_str(), said.err.as_str()), ("3\n", ""));
    run("save debian").failed(1, "HOME is not set\n  help: set XENMAN_HOME");
    assert!(run("snapshot list").done().out.contains("evening"));
    run("host add rack7 unix:/a").failed(1, "HOME is not set");
    run("save debian a.save").done();
}

#[test]
fn home_is_where_it_is_kept_unless_said_otherwise() {
    let host = Host::start();
    let mut command = host.command("host add rack7 unix:/a");
    command
        .env_remove("XENMAN_HOME")
        .env("HOME", host.path("ada"));
    Said::of(command.output().unwrap()).done();
    assert!(read(&host, "ada/.xenman/xenman.conf").ends_with("[rack7]\naddress = unix:/a\n"));
    assert_eq!(mode(&host.path("ada/.xenman")), 0o700);
}

#[test]
fn hosts_are_added_listed_and_removed() {
    let host = Host::start();
    let said = host.run("host add rack7 unix:sock").done();
    let file = host.path(CONF);
    assert_eq!(
        said.out,
        format!("added host 'rack7' to {}\n", file.display())
    );
    host.run("host add attic serial:/dev/ttyUSB0@9600").done();
    let list = host.run("host list --json").done().json();
    let address = format!("unix:{}", host.path("sock").display());
    let expected = serde_json::json!([
        { "name": "rack7", "address": address, "default": false },
        { "name": "attic", "address": "serial:/dev/ttyUSB0@9600", "default": false },
    ]);
    assert_eq!(list, expected);
    for (words, status, told) in [
        (
            "add rack7 unix:/b",
            1,
            "there is a host 'rack7' already\n  help: choose another name, or remove it",
        ),
        ("add ra/ck unix:/b", 2, "'ra/ck' cannot be a host's name"),
        ("add rack8 attic", 2, "is not a host"),
        ("add rack8 tcp:h:1", 2, "network"),
        ("add rack8", 2, "host add: <address> is missing"),
        (
            "rm rack",
            1,
            "there is no host 'rack'\n  help: did you mean 'rack7'?",
        ),
        ("rm frobnicate", 1, "help: 'xenman host list' shows"),
    ] {
        host.run(&format!("host {words}")).failed(status, told);
    }
    host.run("host rm rack7").done();
    assert_eq!(hosts(&host), ["attic"]);
    let text = host.run("host list").done().out;
    assert!(text.contains("serial:/dev/ttyUSB0@9600"), "{text}");
}

#[test]
fn a_file_keeps_its_comments_and_its_order() {
    let text = "# the lab\n[rack7] \nlogin: root ; as XenMan wrote it\naddress=unix:/a\n\n; its neighbour\n[rack8]\n\
                address = unix:/b\n[PATHS]\nkernel = /boot/vmlinuz\n";
    let host = host_with(text);
    host.run("host add rack9 unix:/c").done();
    host.run("image default debian").done();
    let now = read(&host, CONF);
    assert!(now.starts_with(text), "{now}");
    host.run("host rm rack7").done();
    let now = read(&host, CONF);
    assert!(
        now.starts_with("# the lab\n\n; its neighbour\n[rack8]\naddress = unix:/b\n[PATHS]\n"),
        "{now}"
    );
}

#[test]
fn hosts_are_meant_by_their_names() {
    let host = Host::start();
    let socket = format!("unix:{}", host.path("xend.sock").display());
    host.write(
        "xenman.conf",
        format!("[rack7]\naddress = {socket}\n[gone]\naddress = unix:/gone\n[old]\nlogin = root\n"),
    );
    let run = |words: &str| run_without_host(&host, words);
    assert_eq!(run("-H rack7 domid debian").done().out, "3\n");
    run("-H gone list").failed(3, "cannot reach xend at unix:/gone");
    run("-H rakc7 list").failed(2, "`rakc7` is not a host");
    assert!(
        run("-H rakc7 list")
            .err
            .contains("help: did you mean 'rack7'?")
    );
    run("-H old list").failed(2, "./xenman.conf has no address for 'old'");
    run("list").failed(2, "which host?");
    host.write(
        "xenman.conf",
        format!("[CLIENT CONFIGURATION]\ndefault_host = rack7\n[rack7]\naddress = {socket}\n"),
    );
    assert_eq!(run("domid debian").done().out, "3\n");
    assert_eq!(hosts(&host), ["rack7"]);
    assert!(host.run("host list").done().out.contains("yes"));
    let elsewhere = Said::of(
        host.command("list")
            .env("XENMAN_HOST", "unix:/gone")
            .output()
            .unwrap(),
    );
    elsewhere.failed(3, "unix:/gone");
    host.write("xenman.conf", "[rack7]\n\naddress = 10.0.0.7\n");
    run("-H rack7 list").failed(2, "./xenman.conf:3: `10.0.0.7` is not a host");
}

#[test]
fn two_at_once_lose_nothing() {
    let host = Host::start();
    let children: Vec<_> = (0..8)
        .map(|number| host.command(&format!("host add rack{number} unix:/{number}")))
        .map(|mut command| command.stdout(Stdio::null()).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let mut names = hosts(&host);
    names.sort();
    assert_eq!(
        names,
        (0..8)
            .map(|number| format!("rack{number}"))
            .collect::<Vec<_>>()
    );
}

#[test]
fn whoever_is_killed_while_it_writes_leaves_a_good_file() {
    let host = host_with("[rack]\naddress = unix:/a\n");
    for number in 0..40 {
        let mut command = host.command(&format!("host add rack{number} unix:/{number}"));
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_micros(number * 150));
        child.kill().unwrap();
        child.wait().unwrap();
        let said = host.run("host list").done();
        assert!(
            said.err.is_empty() && said.out.contains("unix:/a"),
            "{said:?}"
        );
    }
    // What is written behind a limit never gets its name.
    let mut command = host.shell("ulimit -f 0", "host add last unix:/last");
    assert_eq!(command.output().unwrap().status.code(), None);
    assert!(!hosts(&host).contains(&"last".to_owned()));
}

#[test]
fn domains_are_made_from_the_default_image() {
    let host = Host::start();
    host.write("Image", arm64_image(vec![0; 5000]));
    host.run("image add debian --kernel Image").done();
    for verb in ["create", "new"] {
        host.run(&format!("{verb} --name web1"))
            .failed(2, "There is no default image\n  help: say --image NAME, or set it: xenman image default NAME");
    }
    let said = run_without_host(&host, "image default").done();
    assert_eq!(said.out, "there is no default image\n");
    let said = run_without_host(&host, "image default debian").done();
    assert!(
        said.out.starts_with("'debian' is the default image, says "),
        "{said:?}"
    );
    assert_eq!(
        host.run("image default --json").done().json()["default_image"],
        "debian"
    );
    host.run("image default de/bian")
        .failed(1, "an image's name is made of");
    host.run("create --name web1 memory=96").done();
    host.run("new --name db").done();
    assert!(host.state().created[0].config.contains("store:debian"));
    assert!(host.state().defined["db"].config.contains("store:debian"));
}

#[test]
fn disks_are_put_in_the_place_of_their_names() {
    let host =
        host_with("[DISK data]\nvg = vg0\ntarget = phy:/dev/%(vg)s/data\nvdev = xvdb\nmode = r\n");
    host.write(
        "a.cfg",
        "name = 'a'\nmemory = 64\nkernel = 'boot:k'\ndisk = [ 'data', 'other' ]\n",
    );
    // No disk can be granted yet; the line that is refused is the one that the host would see.
    let said = host.run("config check a.cfg");
    said.failed(1, "'disk' cannot be granted");
    assert!(
        said.err
            .contains("disk = [ 'phy:/dev/vg0/data,xvdb,r', 'other' ]"),
        "{said:?}"
    );
}

#[test]
fn a_log_says_what_was_asked_of_which_host() {
    let host = Host::start();
    let log = |host: &Host| read(host, "own/xenman.log");
    host.run("pause debian").done();
    host.run("pause nobody").failed(1, "there is no domain");
    host.run("host list").done();
    let socket = host.path("xend.sock").display().to_string();
    let text = log(&host);
    let lines: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0].1, format!("unix:{socket}: pause debian: done"));
    assert_eq!(
        lines[1].1,
        format!("unix:{socket}: pause nobody: failed (1): there is no domain 'nobody'")
    );
    host.write(CONF, "[CLIENT CONFIGURATION]\nenable_log = no\n");
    host.run("pause debian").done();
    assert_eq!(log(&host), text);
    host.write(CONF, "[CLIENT CONFIGURATION]\nlog_file = other.log\n");
    host.run("pause debian").done();
    assert!(read(&host, "own/other.log").ends_with("pause debian: done\n"));
    for (text, told) in [
        (
            "log_file = a/b",
            "own/xenman.conf:2: 'a/b' does not do for log_file",
        ),
        ("log_file = cache", "cannot write "),
    ] {
        host.write(CONF, format!("[CLIENT CONFIGURATION]\n{text}\n"));
        fs::create_dir_all(host.path("own/cache")).unwrap();
        assert!(host.run("pause debian").done().err.contains(told));
    }
}

#[test]
fn a_kernel_is_unpacked_once() {
    let host = Host::start();
    let mut image = arm64_image(vec![7; 100_000]);
    host.write("Image", &image);
    host.write("a.cfg", "name = 'a'\nmemory = 64\nkernel = 'Image.gz'\n");
    let mut pack = host.shell("gzip -k Image", "config check a.cfg");
    Said::of(pack.output().unwrap()).done();
    host.run("create a.cfg").done();
    let cached = || -> Vec<_> {
        let files = fs::read_dir(host.path("own/cache")).unwrap();
        files.map(|file| file.unwrap().path()).collect()
    };
    let [kept]: [_; 1] = cached().try_into().unwrap();
    assert_eq!(
        (fs::read(&kept).unwrap(), mode(&kept)),
        (image.clone(), 0o600)
    );
    // Another kernel in its place tells that it is used.
    image[99_999] = 8;
    fs::write(&kept, &image).unwrap();
    host.run("create a.cfg name=b").done();
    let sent = host.state().created[1].files[0].blob;
    assert_eq!(host.state().blobs[&sent], image);
    // One that is none is unpacked anew.
    fs::write(&kept, "").unwrap();
    host.run("create a.cfg name=c").done();
    let files = |number: usize| host.state().created[number].files.clone();
    assert_eq!(files(2), files(0));
    assert_eq!(fs::read(&kept).unwrap().len(), 100_000);
}
