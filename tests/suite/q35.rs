//! The same on x86: QEMU's q35 with AMD SVM.

mod hostile;
mod small;
mod vectors;

use harness::board::Board as Kind;
use harness::emulator::Emulator;
use harness::images::Images;

use crate::stage::{Board, SOON, contains};
use crate::{dashboard, linux, smp};

static MAX: Board = Board::of(Kind::QemuQ35, |_| {});
static EPYC: Board = Board::of(Kind::QemuQ35, |machine| machine.cpu = "EPYC");
static TWO: Board = Board::of(Kind::QemuQ35, |machine| machine.cpus = 2);
static FOUR: Board = Board::of(Kind::QemuQ35, |machine| machine.cpus = 4);
static EIGHT: Board = Board::without_linux(Kind::QemuQ35, |machine| machine.cpus = 8);

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
fn a_managed_linux_is_added_and_looked_after_with_keys_alone() {
    MAX.run(dashboard::from_image_to_end);
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

/// What the machine says that cannot run guests: the cause, and what helps.
fn says_with(cpu: &'static str, cause: &str, remedy: &str) {
    let images = Images::of_workspace();
    let folder = tempfile::tempdir().expect("there is room for a log");
    let mut machine = Kind::QemuQ35.machine(&images, "");
    machine.cpu = cpu;
    machine.initrd = None;
    let log = folder.path().join("serial.log");
    let emulator = Emulator::start(&machine, &log, None, SOON);
    let emulator = emulator.unwrap_or_else(|error| panic!("{error}"));
    let line = emulator.serial().expect_line("*** Alcove does not", SOON);
    let line = line.unwrap_or_else(|error| panic!("{cpu}: {error}"));
    contains(&line, &[cause, remedy]);
    let halted = emulator.serial().expect("*** halted", SOON);
    halted.unwrap_or_else(|error| panic!("{cpu}: {error}"));
}

#[test]
fn svm_without_nested_paging_is_refused_with_a_sentence() {
    for cpu in ["qemu64", "Opteron_G3"] {
        says_with(cpu, "no nested paging", "-cpu max");
    }
}

#[test]
fn a_cpu_that_cannot_run_guests_is_refused_with_a_sentence() {
    for cpu in ["qemu64,-svm", "Nehalem"] {
        says_with(cpu, "neither Intel VMX nor AMD SVM", "in firmware's setup");
    }
}
