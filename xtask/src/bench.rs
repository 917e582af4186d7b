//! `cargo xtask bench`: what things cost, beside the budgets of the design.
//!
//! Figures are instructions, not times: the emulator counts them (`-icount shift=0`), so they are the same in every
//! run and on every machine. Only one CPU can be counted that way. What the store asks of a disk is counted by the disk.
//! In Bochs the guest's own rows are all there is.

mod bochs;
mod count;
mod figures;
mod machines;
mod peer;
mod profile;
mod store;
mod toolstack;

use std::fs;
use std::path::Path;

use argh::FromArgs;
use harness::board::Board;

use self::figures::Figure;
use self::machines::Bed;
use self::profile::Profile;
use crate::failure::Failure;
use crate::{Outcome, build, guest, packages};

/// Count instructions per operation and phase, and print them beside the budgets.
#[derive(FromArgs)]
#[argh(subcommand, name = "bench")]
pub(crate) struct Bench {
    /// the board: qemu-virt (default), qemu-q35 or bochs-pc
    #[argh(option, default = "\"qemu-virt\".to_owned()", arg_name = "NAME")]
    board: String,

    /// measure this beside it: xen, as Debian has it
    #[argh(option, arg_name = "NAME")]
    peer: Option<String>,

    /// show where the hypervisor's instructions went
    #[argh(switch)]
    profile: bool,
}

impl Bench {
    pub(crate) fn run(self) -> Outcome {
        let board = Board::named(&self.board).map_err(Failure::new)?;
        if let Some(peer) = self.peer.as_deref().filter(|peer| *peer != "xen") {
            return Err(Failure::new(format!(
                "there is no peer {peer}; there is xen"
            )));
        }
        if board == Board::BochsPc && self.profile {
            return Err(Failure::new("Bochs does not show where instructions went"));
        }
        packages::need(&packages::emulator(board))?;
        packages::need(&[&packages::CC])?;
        let images = build::build()?;
        let bed = Bed {
            board,
            images: &images,
        };
        if board == Board::BochsPc {
            return verdict(&bochs::measure(bed, self.peer.as_deref())?);
        }
        guest::fetch(board)?;
        let (mut figures, profiles) = measure(bed)?;
        if self.profile {
            profiles
                .iter()
                .for_each(|(title, profile)| profile.print(title));
        }
        let peer = match self.peer {
            Some(_) => Some(beside(&mut figures, bed)?),
            None => None,
        };
        verdict(&figures::print(board, &figures, peer.as_deref()))
    }
}

/// Whether no hard budget was missed.
fn verdict(missed: &[String]) -> Outcome {
    if missed.is_empty() {
        return Ok(());
    }
    let names = missed.join(", ");
    Err(Failure::new(format!("hard budgets are missed: {names}")))
}

/// Where the hypervisor's instructions went, by the machine.
type Profiles = [(&'static str, Profile); 2];

/// All figures of a board.
fn measure(bed: Bed<'_>) -> Outcome<(Vec<Figure>, Profiles)> {
    let image_kib = size(&bed.board.hypervisor(bed.images))? as f64 / 1024.0;
    let mut figures = vec![Figure::new(figures::IMAGE, image_kib)];
    figures.extend(bed.memory()?);
    figures.extend(bed.sample()?);
    figures.extend(bed.store()?);
    figures.extend(bed.toolstack()?);
    let (operations, by_operations) = bed.operations()?;
    figures.extend(operations);
    figures.extend(bed.ipi()?);
    if bed.board == Board::QemuVirt {
        figures.extend(bed.uart()?);
    }
    let (boot, by_boot) = bed.boot()?;
    figures.extend(boot);
    if bed.board == Board::QemuVirt {
        figures.extend(bed.uart_boot()?);
    }
    figures.push(bed.idle()?);
    figures.extend(bed.work()?);
    let profiles = [
        ("the bench guest's machine", by_operations),
        ("the machine that boots Linux and idles", by_boot),
    ];
    Ok((figures, profiles))
}

/// Measures Xen, and puts its figures beside ours; what it is called.
fn beside(figures: &mut [Figure], bed: Bed<'_>) -> Outcome<String> {
    let (version, theirs) = peer::measure(bed, figures)?;
    println!("{version}");
    for theirs in theirs {
        let ours = figures.iter_mut().find(|ours| ours.name == theirs.name);
        if let Some(ours) = ours {
            ours.peer = Some(theirs.value);
        }
    }
    Ok("Xen".to_owned())
}

fn size(file: &Path) -> Outcome<u64> {
    Ok(fs::metadata(file).map_err(Failure::file(file))?.len())
}
