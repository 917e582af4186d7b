//! Power cuts, each time with another seed.

use std::time::SystemTime;

use harness::operator::Trouble;
use harness::power_cuts::Machine;

use super::Bed;
use crate::Outcome;
use crate::failure::Failure;

/// A machine whose power fails again and again. The seed is printed: with it the same cuts come again.
pub(super) fn run(bed: Bed<'_>, cycles: u32) -> Outcome {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = now.map_or(0, |since| since.as_secs());
    println!("power cuts: the seed is {seed}");
    let failed = |trouble: Trouble| Failure::new(trouble.to_string());
    let mut machine = Machine::new(bed.board, bed.images, seed).map_err(failed)?;
    for cut in 1..=cycles {
        machine.run(bed.images).map_err(failed)?;
        if let Some(fault) = machine.fault(bed.images).map_err(failed)? {
            return Err(Failure::new(format!("seed {seed}, cut {cut}: {fault}")));
        }
    }
    let acknowledged = machine.acknowledged();
    println!("power cuts: {cycles}, and none of {acknowledged} acknowledged changes was lost");
    Ok(())
}
