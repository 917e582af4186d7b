//! The peer: Debian's Xen, on the same emulator with the same guests.

mod arm;
mod dom0;
mod x86;

use harness::board::Board;

use super::figures::Figure;
use super::machines::Bed;
use crate::Outcome;

/// What Xen is called, and its figures where it has the same as `ours`.
pub(super) fn measure(bed: Bed<'_>, ours: &[Figure]) -> Outcome<(String, Vec<Figure>)> {
    if bed.board == Board::QemuVirt {
        let xen = arm::Xen::fetch(bed.images)?;
        let figures = xen.figures(bed.images)?;
        return Ok((xen.version, figures));
    }
    let xen = dom0::Xen::fetch(bed)?;
    let figures = x86::figures(&xen, bed, ours)?;
    Ok((xen.version, figures))
}
