// SPDX-License-Identifier: MIT OR Apache-2.0
//! docs/guide/first-guest.md, typed line by line.

use crate::fake::{Host, Said, arm64_image};
use std::{fs, process::Stdio};

const GUIDE: &str = include_str!("../../../docs/guide/first-guest.md");

/// The lines to be typed or written, without their comments.
fn lines() -> impl Iterator<Item = &'static str> {
    let lines = GUIDE.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(|line| line.split('#').next().unwrap_or_default().trim_end())
}

/// What is to be written to `web.cfg`.
fn configuration() -> String {
    let from_name = lines().skip_while(|line| !line.starts_with("name "));
    let settings = from_name.take_while(|line| line.contains(" = "));
    settings.map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_line_of_the_first_guest_is_true() {
    let host = Host::start();
    fs::create_dir_all(host.path("target/guests/aarch64")).unwrap();
    host.write("target/guests/aarch64/Image", arm64_image(vec![1; 70_000]));
    host.write("target/guests/aarch64/initrd.gz", "an initrd, perhaps");
    host.write("web.cfg", configuration());
    let mut typed = 0;
    for line in lines().filter(|line| line.starts_with("xenman ")) {
        let mut command = host.command(line.trim_start_matches("xenman "));
        command.env("VISUAL", "true").stdin(Stdio::null());
        let said = Said::of(command.output().unwrap());
        assert_eq!(said.status, Some(0), "{line}: {said:?}");
        typed += 1;
    }
    assert!(typed > 15, "{typed} lines");
}
