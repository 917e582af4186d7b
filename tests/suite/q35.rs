//! The same on x86: QEMU's q35 with AMD SVM.

mod hostile;
mod small;

use harness::board::Board as Kind;

use crate::stage::{Board, SOON, contains};
use crate::{linux, smp};

static MAX: Board = Board::of(Kind::QemuQ35, |_| {});
static EPYC: Board = Board::of(Kind::QemuQ35, |machine| machine.cpu = "EPYC");
static TWO: Board = Board::of(Kind::QemuQ35, |machine| machine.cpus = 2);
static FOUR: Board = Board::of(Kind::QemuQ35, |machine| machine.cpus = 4);

#[test]
fn debian_lives_a_whole_life() {
    MAX.run(linux::whole_life);
}

#[test]
fn debian_lives_a_whole_life_on_a_cpu_with_less() {
    EPYC.run(linux::whole_life);
}

#[test]
fn debian_switches_off_and_reboots_from_inside() {
    MAX.run(linux::from_inside);
}

#[test]
fn a_debian_restored_from_a_file_is_rebooted_from_the_kernel_that_is_still_there() {
    MAX.run(linux::rebooted_after_restore);
}

#[test]
fn two_debians_live_side_by_side() {
    MAX.run(linux::side_by_side);
}

#[test]
fn linuxes_with_one_and_two_vcpus_live_together_on_two_cpus() {
    TWO.run(smp::one_and_two);
}

#[test]
fn linuxes_with_one_two_and_four_vcpus_live_together_on_four_cpus() {
    FOUR.run(smp::one_two_and_four);
}

#[test]
fn a_domain_that_needs_a_whole_pc_is_refused_with_a_sentence() {
    MAX.run(|stage| {
        let kernel = "boot:vmlinux".as_ref();
        let file = stage.configuration("pc", kernel, "type = \"hvm\"\nmemory = 64");
        let refused = stage.operator.refused(&["create", &file])?;
        contains(&refused, &["a whole PC", "use type"]);
        stage.operator.gone("pc", SOON)
    });
}
