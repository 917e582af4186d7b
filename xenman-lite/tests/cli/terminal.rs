// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables on a terminal, and elsewhere.

use crate::fake::{Host, Said};
use mgmt_proto::messages::DomainState;
use std::process::Stdio;

fn host() -> Host {
    let host = Host::start();
    host.state().domains[1].state = DomainState::CRASHED;
    host
}

/// What `xenman words` shows on a terminal with an environment.
fn shown(host: &Host, words: &str, environment: &[(&str, &str)]) -> String {
    let mut command = host.on_terminal(words);
    command
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    Said::of(command.output().expect("`script` of util-linux is needed"))
        .done()
        .out
}

/// The colour that a word is shown in.
fn colour_of<'a>(shown: &'a str, word: &str) -> Option<&'a str> {
    let (before, _) = shown.split_once(word)?;
    let (_, colour) = before.rsplit_once("\x1b[38;5;")?;
    colour.split_once('m').map(|(number, _)| number)
}

#[test]
fn states_have_colours_on_a_terminal() {
    let host = host();
    let list = shown(&host, "list", &[("NO_COLOR", "")]);
    assert_eq!(colour_of(&list, "blocked"), Some("74"), "{list:?}");
    assert_eq!(colour_of(&list, "crashed"), Some("166"), "{list:?}");
    let vcpus = shown(&host, "vcpu-list", &[]);
    assert_eq!(colour_of(&vcpus, "crashed"), Some("166"), "{vcpus:?}");
    let snapshots = shown(&host, "snapshot list", &[]);
    assert!(!snapshots.contains("38;5"), "{snapshots:?}");
}

#[test]
fn there_are_no_colours_where_they_are_not_wanted() {
    let host = host();
    for environment in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let list = shown(&host, "list", &[environment]);
        assert!(
            list.contains("crashed") && !list.contains('\x1b'),
            "{list:?}"
        );
    }
    let piped = host.run("list").done().out;
    assert!(piped.is_ascii() && !piped.contains('\x1b'), "{piped:?}");
}
