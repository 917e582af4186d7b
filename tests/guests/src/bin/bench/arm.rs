//! What only ARM has: the interrupt controller in memory.

use guests::gic::{GICD_TYPER, read};

use super::rows::Loop;

pub(crate) fn machine_rows(baseline: &Loop) {
    baseline.row("gicd_typer_read", 2000, || {
        core::hint::black_box(read(GICD_TYPER));
    });
}
