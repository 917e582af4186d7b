//! `cargo xtask bundle`: a boot bundle.

use std::path::PathBuf;

use argh::FromArgs;
use harness::board::Board;
use harness::bundle::Bundle as Archive;
use harness::images::Images;

use crate::Outcome;
use crate::failure::Failure;

/// Make a boot bundle: Domain-0, xend's configuration, and what is added.
#[derive(FromArgs)]
#[argh(subcommand, name = "bundle")]
pub(crate) struct Bundle {
    /// the board: qemu-virt (default), qemu-q35 or bochs-pc
    #[argh(option, default = "\"qemu-virt\".to_owned()", arg_name = "NAME")]
    board: String,

    /// add the file PATH as NAME; a configuration names it as boot:NAME
    #[argh(option, arg_name = "NAME=PATH")]
    add: Vec<String>,

    /// take the members of another bundle too
    #[argh(option, arg_name = "FILE")]
    bundle: Vec<PathBuf>,

    /// where to write it (default: target/alcove/bundle.cpio)
    #[argh(option, short = 'o', arg_name = "FILE")]
    output: Option<PathBuf>,
}

impl Bundle {
    pub(crate) fn run(self) -> Outcome {
        let images = Images::of_workspace();
        let board = Board::named(&self.board).map_err(Failure::new)?;
        let mut archive = with_dom0(board, &images, &self.bundle)?;
        for argument in &self.add {
            archive.add_argument(argument)?;
        }
        let output = self
            .output
            .unwrap_or_else(|| images.folder().join("bundle.cpio"));
        archive.write(&output)?;
        println!("{}", output.display());
        Ok(())
    }
}

/// A bundle with the Domain-0 that was built for the board and the members of `others`.
pub(crate) fn with_dom0(board: Board, images: &Images, others: &[PathBuf]) -> Outcome<Archive> {
    let dom0 = board.dom0(images);
    if !dom0.exists() {
        return Err(Failure::new(format!(
            "{} is missing; `cargo xtask build` makes it",
            dom0.display()
        )));
    }
    let mut archive = Archive::new(&dom0)?;
    for other in others {
        archive.merge(other)?;
    }
    Ok(archive)
}
