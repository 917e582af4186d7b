// SPDX-License-Identifier: MIT OR Apache-2.0
//! The scripts, beside the definitions and in the shells themselves.

use super::*;
use level::complete_levels;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

const SHELLS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash"),
    (Shell::Zsh, "zsh"),
    (Shell::Fish, "fish"),
];

#[test]
fn every_verb_and_option_is_in_each_script() {
    for (shell, name) in SHELLS {
        let script = script(shell);
        for level in complete_levels(&Arguments::get_args_info()) {
            let words = level.words();
            let quoted = match shell {
                Shell::Fish => format!("\\'{words}\\'"),
                _ => format!("'{words}'"),
            };
            assert!(script.contains(&quoted), "{name}: {words}");
            for option in &level.options {
                let long = match shell {
                    Shell::Fish => format!("-l {}", option.long.trim_start_matches('-')),
                    _ => option.long.to_owned(),
                };
                assert!(script.contains(&long), "{name}: {words} {long}");
            }
        }
    }
}

#[test]
fn each_shell_can_read_its_script() {
    let folder = tempfile::tempdir().unwrap();
    for (shell, name) in SHELLS {
        let file = folder.path().join(name);
        fs::write(&file, script(shell)).unwrap();
        match Command::new(name).arg("-n").arg(&file).output() {
            Ok(said) => assert!(said.status.success() && said.stderr.is_empty(), "{said:?}"),
            Err(_) => println!("skipped: there is no {name} here"),
        }
    }
}

/// A folder with a xenman that knows some names, and tells what it was asked.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("xenman");
    let answers = "#!/bin/sh\necho \"$@\" >>asked\ncase $* in *domains) printf 'web\\nw$(touch evil)\\ndb\\n' ;; \
                   *images) echo debian ;; *snapshots) printf 'noon\\nnight\\n' ;; esac\n";
    fs::write(&program, answers).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.path().join("web.cfg"), "").unwrap();
    fs::write(folder.path().join("bash"), script(Shell::Bash)).unwrap();
    folder
}

/// What bash offers for a line.
fn offered(folder: &Path, line: &str) -> Vec<String> {
    let words = "source ./bash; COMP_LINE=$1; COMP_POINT=${#1}; _xenman ./xenman; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", words, "bash", line])
        .current_dir(folder);
    let said = bash.output().unwrap();
    let complaints = String::from_utf8(said.stderr).unwrap();
    assert_eq!(complaints, "", "{line}");
    let out = String::from_utf8(said.stdout).unwrap();
    out.lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn bash_offers_what_may_follow() {
    let folder = folder();
    for (line, offers) in [
        ("xenman vcpu-", &["vcpu-list", "vcpu-pin"][..]),
        ("xenman -H unix:/a --json vcpu-p", &["vcpu-pin"]),
        ("xenman snapshot ", &["list", "delete"]),
        ("xenman snapshot delete n", &["noon", "night"]),
        ("xenman pause w", &["web", "w\\$\\(touch\\ evil\\)"]),
        ("xenman pause list ", &[]),
        ("xenman save web store:no", &["noon"]),
        ("xenman restore st", &["store:"]),
        ("xenman create w", &["web.cfg"]),
        ("xenman create --image ", &["debian"]),
        ("xenman create --image debian --v", &["--vcpus"]),
        ("xenman list web d", &["db"]),
        ("xenman top --inte", &["--intervals", "--interval"]),
        ("xenman completion ", &["bash", "zsh", "fish"]),
        ("xenman nonsense ", &[]),
    ] {
        assert_eq!(offered(folder.path(), line), offers, "{line}");
    }
    assert!(!folder.path().join("evil").exists());
}

#[test]
fn the_host_that_is_typed_is_the_one_that_is_asked() {
    let folder = folder();
    assert_eq!(offered(folder.path(), "xenman pause -H rack7 d"), ["db"]);
    let asked = fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(asked, "-H rack7 complete-names domains\n");
}

/// What fish offers for a line, sorted by it.
fn fish_offers(folder: &Path, line: &str) -> Option<Vec<String>> {
    fs::write(folder.join("fish"), script(Shell::Fish)).unwrap();
    let words = format!("source ./fish; complete -C '{line}'");
    let mut fish = Command::new("fish");
    fish.args(["--no-config", "-c", &words]).current_dir(folder);
    let Ok(said) = fish.env("HOME", folder).output() else {
        println!("skipped: there is no fish here");
        return None;
    };
    let out = String::from_utf8(said.stdout).unwrap();
    let words = out
        .lines()
        .map(|line| line.split('\t').next().unwrap_or_default());
    Some(words.map(str::to_owned).collect())
}

#[test]
fn fish_offers_what_may_follow() {
    let folder = folder();
    for (line, offers) in [
        ("./xenman vcpu-", &["vcpu-list", "vcpu-pin"][..]),
        ("./xenman snapshot ", &["delete", "list"]),
        ("./xenman -H unix:/a snapshot delete n", &["night", "noon"]),
        ("./xenman list web d", &["db"]),
        ("./xenman create --image ", &["debian"]),
        ("./xenman top --interv", &["--interval", "--intervals"]),
        ("./xenman completion ", &["bash", "fish", "zsh"]),
    ] {
        if let Some(found) = fish_offers(folder.path(), line) {
            assert_eq!(found, offers, "{line}");
        }
    }
}
