//! Hostile guests: those for any machine, and those for what only x86 has.

use harness::operator::{Trouble, wait};

use super::{MAX, TWO};
use crate::hostile::{
    counted_by_kind, held, held_on_any_machine, held_once, held_with, write_after_unmap,
};
use crate::stage::{SOON, Stage, contains};

fn claim(guest: &str, refused: Option<&str>) {
    MAX.run(|stage| held(stage, guest, refused));
}

held_on_any_machine!(claim);

#[test]
fn writes_after_unmap() {
    MAX.run(|stage| write_after_unmap(stage, "times=20000"));
}

#[test]
fn what_was_refused_is_counted_by_kind() {
    MAX.run(|stage| counted_by_kind(stage, 0, "rdmsr"));
}

#[test]
fn who_sleeps_is_woken() {
    MAX.run(|stage| {
        stage.create_small("sleeper", "sleeper", "extra = \"seconds=2\"")?;
        wait(SOON, "the sleeper does not come to its end", || {
            let log = stage.operator.run(&["dmesg"])?;
            let said = stage.operator.said("sleeper")?;
            assert!(
                !said.contains("FAIL") && !log.contains("FAIL sleeper"),
                "{said}\n{log}"
            );
            Ok(log.contains("ok sleeper: "))
        })?;
        stage.operator.gone("sleeper", SOON)
    });
}

#[test]
fn any_model_specific_register() {
    MAX.run(|stage| held_once(stage, "hostile_msrs", Some("wrmsr at pc")));
}

#[test]
fn any_port() {
    MAX.run(|stage| held_once(stage, "hostile_ports", Some("string port access at pc")));
}

#[test]
fn any_leaf_of_cpuid() {
    claim("hostile_cpuid", None);
}

#[test]
fn anything_in_control_and_debug_registers() {
    MAX.run(|stage| held_once(stage, "hostile_crs", None));
}

#[test]
fn any_register_of_the_interrupt_controller() {
    TWO.run(|stage| held_with(stage, "hostile_x2apic", None, "vcpus = 4"));
}

#[test]
fn code_and_tables_that_change_under_an_instruction() {
    TWO.run(|stage| held_with(stage, "hostile_tables", None, "vcpus = 2"));
}

#[test]
fn an_access_outside_ram_by_any_instruction() {
    MAX.run(accesses_outside);
}

fn accesses_outside(stage: &Stage<'_>) -> Result<(), Trouble> {
    const GUEST: &str = "hostile_mmio_x86";
    stage.create("honest", "honest", 32, "")?;
    let domid = stage.create(GUEST, GUEST, 16, "")?;
    let done = format!("(d{domid}) ok {GUEST}");
    wait(SOON, "it does not come to its end", || {
        let log = stage.operator.run(&["dmesg"])?;
        assert!(!stage.operator.said(GUEST)?.contains("FAIL"), "{log}");
        Ok(log.contains(&done))
    })?;
    let info = stage.operator.json(&["info", GUEST])?;
    let counted = info["counters"]["refused accesses"].as_u64();
    assert!(counted > Some(4000), "{counted:?} accesses were refused");
    let log = stage.operator.run(&["dmesg"])?;
    contains(&log, &["APIC access without x2APIC", "store at pc"]);
    stage.do_to("destroy", GUEST)?;
    stage.ticks_go_on("honest")?;
    stage.do_to("destroy", "honest")
}

/// A guest that cannot go on is kept as it is, and nobody else minds.
fn ends(stage: &Stage<'_>, guest: &str, options: &str, words: &[&str]) -> Result<(), Trouble> {
    stage.create("honest", "honest", 32, "")?;
    let more = format!("on_crash = \"preserve\"\nextra = \"{options}\"");
    stage.create_small(guest, guest, &more)?;
    stage.is(guest, &["crashed"])?;
    contains(&stage.operator.run(&["dmesg"])?, words);
    stage.ticks_go_on("honest")?;
    stage.do_to("destroy", guest)?;
    stage.do_to("destroy", "honest")
}

#[test]
fn a_stack_outside_ram_when_an_interrupt_comes() {
    let words = ["event delivery outside RAM", "rsp 0x30000800", "after "];
    MAX.run(|stage| ends(stage, "hostile_mmio_x86", "stack=1", &words));
}

#[test]
fn a_state_that_no_cpu_is_in() {
    // Protected mode off, with paging on.
    let words = ["guest state not valid", "after cpuid at 0x"];
    MAX.run(|stage| ends(stage, "hostile_crs", "illegal=0", &words));
}

#[test]
fn a_triple_fault_ends_a_domain_and_its_registers_are_told() {
    let words = [
        "triple fault at pc",
        "rax 0x1122334455667788",
        "r15 0xeeddccbbaa998877",
        "idtr 0x0+0x0",
        "after rdmsr at 0x",
        "after cpuid at 0x",
        "after triple fault at 0x",
    ];
    MAX.run(|stage| ends(stage, "hostile_triple", "", &words));
}
