// SPDX-License-Identifier: MIT OR Apache-2.0
//! Defining domains, starting them, and what a host keeps of them.

use crate::fake::{Host, Said, arm64_image};
use std::{os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio};

fn image(fill: u8) -> Vec<u8> {
    arm64_image(vec![fill; 5000])
}

const CONFIG: &str = "# the web server\nname = 'web'\nmemory = 64\nkernel = 'Image'\n";

fn host() -> Host {
    let host = Host::start();
    host.write("web.cfg", CONFIG);
    host.write("Image", image(1));
    host.write("Other", image(2));
    host
}

#[test]
fn a_domain_is_defined_started_and_deleted() {
    let host = host();
    assert_eq!(
        host.run("new web.cfg").done().out,
        "defined domain 'web'; 'xenman start web' starts it\n"
    );
    {
        let state = host.state();
        let define = &state.defined["web"];
        assert_eq!((&*define.config, &*define.origin), (CONFIG, "web.cfg"));
        assert_eq!(state.blobs[&define.files[0].blob], image(1));
    }
    let list = host.run("list").done().out;
    let words: Vec<&str> = list.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(words, ["web", "-", "pvh", "64", "1", "off", "1.5"]);
    let off = host.run("list web --json").done().json()[0].clone();
    assert_eq!(off["domid"], serde_json::Value::Null);
    assert_eq!(
        (&off["state"], &off["managed"]),
        (&"off".into(), &true.into())
    );
    for verb in ["domid web", "shutdown web", "reboot web"] {
        host.run(verb).failed(
            1,
            "domain 'web' is not running\n  help: 'xenman start web' starts it",
        );
    }
    assert_eq!(
        host.run("start web").done().out,
        "started domain 'web' with the number 6\n"
    );
    host.run("start nobody")
        .failed(1, "there is no domain 'nobody'");
    host.run("start web -p -c")
        .failed(2, "leave nothing to see");
    host.run("delete web").done();
    assert!(host.state().defined.is_empty());
}

#[test]
fn overrides_are_kept_with_a_definition() {
    let host = host();
    host.run("new web.cfg memory=96 --json").done();
    let config = host.state().defined["web"].config.clone();
    assert!(
        config.starts_with(CONFIG) && config.ends_with("memory=96\n"),
        "{config}"
    );
}

#[test]
fn what_is_wrong_with_a_file_is_found_before_the_host_is_asked() {
    let host = host();
    host.write("bad.cfg", "name = 'web'\nmemory = \n");
    host.run("new bad.cfg")
        .failed(1, "bad.cfg:2:9: expected a value");
    host.run("new web.cfg kernel=nothing")
        .failed(1, "cannot read nothing: there is no such file");
    assert!(host.state().defined.is_empty());
}

/// A host with a domain, and an editor that does as the script says to the file `$1`.
fn host_with_editor(script: &str) -> Host {
    let host = host();
    host.run("new web.cfg").done();
    let editor = host.write("editor", format!("#!/bin/sh\n{script}\n"));
    std::fs::set_permissions(editor, std::fs::Permissions::from_mode(0o755)).unwrap();
    host
}

fn edit(host: &Host) -> Said {
    let mut command = host.command("config edit web");
    command
        .env("TMPDIR", host.path(""))
        .env("VISUAL", "./editor")
        .env_remove("EDITOR")
        .stdin(Stdio::null());
    Said::of(command.output().unwrap())
}

/// The temporary files that are left.
fn left(host: &Host) -> Vec<PathBuf> {
    let all = std::fs::read_dir(host.path("")).unwrap();
    let names = all.map(|entry| entry.unwrap().path());
    names
        .filter(|path| {
            path.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("xenman-")
        })
        .collect()
}

#[test]
fn a_definition_is_shown_as_it_was_written() {
    let host = host();
    host.run("new web.cfg").done();
    assert_eq!(host.run("config show web").done().out, CONFIG);
    let json = host.run("config show web --json").done().json();
    assert_eq!(json["path"], "/etc/xen/web.cfg");
    assert_eq!(json["changed_by"], "xenman on ada");
    host.run("config show wbe").failed(1, "did you mean 'web'?");
}

#[test]
fn a_definition_is_edited_in_a_file_of_ones_own() {
    let host = host_with_editor("stat -c %a \"$1\" >mode; sed -i s/64/96/ \"$1\"");
    let said = edit(&host).done();
    assert_eq!(
        said.out,
        "changed the definition of 'web'; it is running: that has effect at its next start\n"
    );
    assert_eq!(std::fs::read_to_string(host.path("mode")).unwrap(), "600\n");
    let defined = host.state().defined["web"].clone();
    assert_eq!(defined.config, CONFIG.replace("64", "96"));
    assert!(defined.files.is_empty(), "the kernel is what it was");
    assert!(left(&host).is_empty());
}

#[test]
fn an_edit_without_a_change_changes_nothing() {
    let host = host_with_editor("true");
    assert_eq!(edit(&host).done().out, "nothing is changed\n");
    assert!(left(&host).is_empty());
}

#[test]
fn a_definition_is_replaced_by_a_file() {
    let host = host();
    host.run("new web.cfg").done();
    host.write("other.cfg", CONFIG.replace("64", "96"));
    let said = host.run("config set web other.cfg").done();
    assert!(said.out.starts_with("changed the definition of 'web'"));
    let defined = host.state().defined["web"].clone();
    assert_eq!(defined.config, CONFIG.replace("64", "96"));
    assert!(defined.files.is_empty(), "the kernel is what it was");
    host.write("other.cfg", CONFIG.replace("Image", "Other"));
    host.run("config set web other.cfg").done();
    let blob = host.state().defined["web"].files[0].blob;
    assert_eq!(host.state().blobs[&blob], image(2));
}

#[test]
fn a_file_with_an_error_replaces_no_definition() {
    let host = host();
    host.run("new web.cfg").done();
    host.write("bad.cfg", "name = 'web'\nmemory =\n");
    for (words, complaint) in [
        ("web bad.cfg", "bad.cfg:2:9: expected a value"),
        ("web lost.cfg", "cannot read lost.cfg"),
        ("wbe web.cfg", "did you mean 'web'?"),
    ] {
        host.run(&format!("config set {words}"))
            .failed(1, complaint);
    }
    assert_eq!(host.state().defined["web"].config, CONFIG);
}

#[test]
fn a_kernel_named_anew_is_uploaded() {
    let host = host_with_editor("sed -i s/Image/Other/ \"$1\"");
    edit(&host).done();
    let state = host.state();
    assert_eq!(state.blobs[&state.defined["web"].files[0].blob], image(2));
}

#[test]
fn what_was_edited_is_kept_when_it_is_refused() {
    for (script, faster, complaint) in [
        ("echo 'memory =' >>\"$1\"", None, "expected a value"),
        (
            "sed -i s/Image/nothing/ \"$1\"",
            None,
            "cannot read nothing",
        ),
        (
            "sed -i s/64/96/ \"$1\"; exit 3",
            None,
            "the editor './editor' failed",
        ),
        (
            "sed -i s/64/96/ \"$1\"",
            Some("xenman on bob"),
            "was changed meanwhile, by xenman on bob",
        ),
    ] {
        let host = host_with_editor(script);
        host.state().faster = faster.map(str::to_owned);
        let said = edit(&host);
        said.failed(1, complaint);
        assert_eq!(host.state().defined["web"].config, CONFIG);
        let [kept]: [PathBuf; 1] = left(&host).try_into().expect("one file is left");
        let place = format!("your text is in {}", kept.display());
        assert!(said.err.contains(&place), "{said:?}");
        assert_ne!(std::fs::read_to_string(kept).unwrap(), CONFIG);
    }
}
