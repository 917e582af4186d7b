//! `cargo xtask bench`: what things cost, beside the budgets of the design.
//!
//! Figures are instructions, not times: the emulator counts them (`-icount shift=0`), so they are the same in every
//! run and on every machine. Only one CPU can be counted that way.

mod count;
mod figures;
mod machines;
mod peer;
mod profile;

use std::fs;
use std::path::Path;

use argh::FromArgs;
use harness::board::Board;
use harness::images::Images;

use self::figures::Figure;
use self::peer::Xen;
use crate::failure::Failure;
use crate::{Outcome, build, guest, packages};

/// Count instructions per operation and phase, and print them beside the budgets.
#[derive(FromArgs)]
#[argh(subcommand, name = "bench")]
pub(crate) struct Bench {
    /// the board: qemu-virt (others come later)
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
        if board != Board::QemuVirt {
            let sentence = format!("the bench of {} is not there yet", board.name());
            return Err(Failure::new(sentence));
        }
        if let Some(peer) = self.peer.as_deref().filter(|peer| *peer != "xen") {
            return Err(Failure::new(format!(
                "there is no peer {peer}; there is xen"
            )));
        }
        packages::need(&[&packages::QEMU_ARM, &packages::CC])?;
        let images = build::build()?;
        guest::fetch(Board::QemuVirt)?;
        let image_kib = size(&images.hypervisor())? as f64 / 1024.0;
        let mut figures = vec![Figure::new(figures::IMAGE, image_kib)];
        figures.extend(machines::memory(&images)?);
        figures.extend(machines::sample(&images)?);
        let (operations, by_operations) = machines::operations(&images)?;
        figures.extend(operations);
        figures.extend(machines::ipi(&images)?);
        figures.extend(machines::uart(&images)?);
        let (boot, by_boot) = machines::boot(&images)?;
        figures.extend(boot);
        figures.extend(machines::uart_boot(&images)?);
        figures.push(machines::work(&images)?);
        if self.profile {
            by_operations.print("the bench guest's machine");
            by_boot.print("the machine that boots Linux and idles");
        }
        let peer = match self.peer {
            Some(_) => Some(beside(&mut figures, &images)?),
            None => None,
        };
        let missed = figures::print(&figures, peer.as_deref());
        if missed.is_empty() {
            return Ok(());
        }
        let names = missed.join(", ");
        Err(Failure::new(format!("hard budgets are missed: {names}")))
    }
}

/// Measures Xen, and puts its figures beside ours; what it is called.
fn beside(figures: &mut [Figure], images: &Images) -> Outcome<String> {
    let xen = Xen::fetch(images)?;
    println!("{}", xen.version);
    for theirs in xen.figures(images)? {
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
