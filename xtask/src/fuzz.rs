//! `cargo xtask fuzz`: the fuzz bodies, driven by cargo-fuzz.
//!
//! `cargo xtask test` replays the same bodies over fixed inputs; this needs a nightly compiler and looks for new ones.

use std::process::Command;

use argh::FromArgs;
use harness::images::workspace_root;

use crate::failure::Failure;
use crate::{Outcome, command};

const FOLDER: &str = "hv-common/fuzz";
/// The targets, as hv-common/fuzz/Cargo.toml has them.
const TARGETS: [&str; 10] = [
    "calls", "config", "fdt", "kernel", "link", "message", "record", "sxp", "vcpu", "xenstore",
];

/// Fuzz what reads untrusted bytes; all targets in turn if none is named.
#[derive(FromArgs)]
#[argh(subcommand, name = "fuzz")]
pub(crate) struct Fuzz {
    /// calls, config, fdt, kernel, link, message, record, sxp, vcpu or xenstore
    #[argh(positional)]
    target: Option<String>,

    /// for how long each (default 60)
    #[argh(option, default = "60", arg_name = "N")]
    seconds: u32,
}

impl Fuzz {
    pub(crate) fn run(self) -> Outcome {
        let targets = chosen(self.target.as_deref())?;
        need_cargo_fuzz()?;
        for target in targets {
            println!("== {target}, {} s", self.seconds);
            let time = format!("-max_total_time={}", self.seconds);
            // Machines of the fake architecture live for ever, as real ones do: the process is restarted when it has
            // filled its memory with them. (The bodies count frames, which is where a leak would matter.)
            let options = [
                "--",
                &time,
                "-fork=1",
                "-ignore_ooms=1",
                "-rss_limit_mb=4096",
            ];
            let run = ["run", "--fuzz-dir", FOLDER, target];
            command::run(
                cargo_fuzz()
                    .args(run)
                    .args(options)
                    .env("ASAN_OPTIONS", "detect_leaks=0"),
            )?;
        }
        Ok(())
    }
}

fn chosen(name: Option<&str>) -> Outcome<Vec<&'static str>> {
    let wanted = |target: &&&str| name.is_none_or(|name| name == **target);
    let targets: Vec<&str> = TARGETS.iter().filter(wanted).copied().collect();
    match (targets.is_empty(), name) {
        (true, Some(name)) => Err(Failure::new(format!(
            "there is no fuzz target {name}; there are {}",
            TARGETS.join(", ")
        ))),
        _ => Ok(targets),
    }
}

/// Cargo-fuzz instruments with options that only a nightly compiler takes.
fn cargo_fuzz() -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["+nightly", "fuzz"])
        .current_dir(workspace_root());
    // What cargo set for us, its child, names its own compiler.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    cargo
}

fn need_cargo_fuzz() -> Outcome {
    command::output(cargo_fuzz().arg("--version"))
        .map(drop)
        .map_err(|_| {
            Failure::new(
                "fuzzing needs a nightly Rust toolchain and cargo-fuzz: \
             `rustup toolchain install nightly`, `cargo install --locked cargo-fuzz`",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_are_those_of_the_fuzz_package() {
        let manifest = workspace_root().join(FOLDER).join("Cargo.toml");
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let binaries = manifest.lines().filter_map(|line| {
            line.strip_prefix("path = \"fuzz_targets/")?
                .strip_suffix(".rs\"")
        });
        assert_eq!(binaries.collect::<Vec<_>>(), TARGETS);
    }

    #[test]
    fn a_target_is_chosen_by_name() {
        assert_eq!(chosen(Some("fdt")).unwrap(), ["fdt"]);
        assert_eq!(chosen(None).unwrap(), TARGETS);
        let failure = chosen(Some("fdr")).unwrap_err();
        assert!(failure.to_string().contains("fdt, kernel, link"));
    }
}
