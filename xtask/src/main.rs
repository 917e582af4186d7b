//! `cargo xtask VERB`: builds, runs, tests and checks the workspace.
//!
//! One file per verb. It compiles with whatever host toolchain is there; the verbs find or make what the bare-metal
//! images need ([`toolchain`]) and install what they miss ([`packages`]).
#![forbid(unsafe_code)]

mod apt;
mod bench;
mod build;
mod bundle;
mod bzimage;
mod check_deps;
mod ci;
mod command;
mod demo;
mod dist;
mod failure;
mod fuzz;
mod guest;
mod image;
mod initramfs;
mod packages;
mod run;
mod soak;
mod source;
mod test;
mod toolchain;
mod usage;

use argh::FromArgs;

use crate::failure::Failure;

/// Builds, runs, tests and checks Alcove.
#[derive(FromArgs)]
struct Arguments {
    #[argh(subcommand)]
    verb: Verb,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Verb {
    Bench(bench::Bench),
    Build(build::Build),
    Bundle(bundle::Bundle),
    CheckDeps(check_deps::CheckDeps),
    Ci(ci::Ci),
    Demo(demo::Demo),
    Dist(dist::Dist),
    Fuzz(fuzz::Fuzz),
    Guest(guest::Guest),
    Run(run::Run),
    Soak(soak::Soak),
    Test(test::Test),
}

fn main() {
    let words = std::env::args_os().skip(1);
    let words: Vec<String> = words.map(|word| word.to_string_lossy().into()).collect();
    let arguments = match usage::parse(&words) {
        Ok(arguments) => arguments,
        Err(exit) if exit.status.is_ok() => return print!("{}", exit.output),
        Err(exit) => {
            eprint!("{}", exit.output);
            std::process::exit(2)
        }
    };
    let result = match arguments.verb {
        Verb::Bench(verb) => verb.run(),
        Verb::Build(verb) => verb.run(),
        Verb::Bundle(verb) => verb.run(),
        Verb::CheckDeps(verb) => verb.run(),
        Verb::Ci(verb) => verb.run(),
        Verb::Demo(verb) => verb.run(),
        Verb::Dist(verb) => verb.run(),
        Verb::Fuzz(verb) => verb.run(),
        Verb::Guest(verb) => verb.run(),
        Verb::Run(verb) => verb.run(),
        Verb::Soak(verb) => verb.run(),
        Verb::Test(verb) => verb.run(),
    };
    if let Err(failure) = result {
        eprintln!("xtask: {failure}");
        std::process::exit(1);
    }
}

/// What every verb returns.
type Outcome<T = ()> = Result<T, Failure>;
