//! What a vCPU exited for last, and its registers: for the log when it cannot go on.
//!
//! Hypercalls are not noted: they are the commonest exits and go another way.

use core::fmt::{self, Arguments, Display, Formatter};

use hv_abi::record::x86::{Cpu, Segment};

use super::Vcpu;
use crate::vendor::{Control, Event, Vendor, gpr};

/// Exits that are kept.
const LENGTH: usize = 8;

/// An exit, and the instruction pointer at it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Exited {
    event: Event,
    rip: u64,
}

/// The last exits.
#[derive(Default, Debug)]
pub(super) struct Trail {
    exits: [Option<Exited>; LENGTH],
    next: usize,
}

impl Trail {
    /// Notes an exit.
    #[inline]
    pub(super) fn note(&mut self, event: Event, rip: u64) {
        let at = self.next % LENGTH;
        self.next = at + 1;
        if let Some(place) = self.exits.get_mut(at) {
            *place = Some(Exited { event, rip });
        }
    }

    /// The oldest first.
    fn iter(&self) -> impl Iterator<Item = Exited> {
        let (newer, older) = self.exits.split_at(self.next.min(LENGTH));
        older.iter().chain(newer).copied().flatten()
    }
}

impl Display for Exited {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        write!(to, "{} at {:#x}", self.event, self.rip)
    }
}

impl Display for Event {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Port(port) => {
                let direction = if port.is_input { "in" } else { "out" };
                write!(to, "{direction} {:#x}", port.number)
            }
            Self::ControlRegister(access) => write!(to, "cr{}", access.number),
            Self::Memory(memory) => write!(to, "access to {:#x}", memory.gpa),
            Self::Exception(vector, _) => write!(to, "exception {vector}"),
            Self::Undefined(name) => to.write_str(name),
            Self::Failed(reason, _) => write!(to, "failed entry {reason:#x}"),
            Self::Unknown(code) => write!(to, "exit {code:#x}"),
            other => to.write_str(name(other)),
        }
    }
}

fn name(event: Event) -> &'static str {
    match event {
        Event::Interrupted => "interrupt",
        Event::WindowOpen => "interrupt window",
        Event::Cpuid => "cpuid",
        Event::ReadMsr => "rdmsr",
        Event::WriteMsr => "wrmsr",
        Event::Hypercall => "hypercall",
        Event::Halt => "hlt",
        Event::Xsetbv => "xsetbv",
        Event::Cache => "invd",
        Event::Pause => "pause",
        Event::TaskSwitch => "task switch",
        Event::TripleFault => "triple fault",
        _ => "",
    }
}

impl<V: Vendor> Vcpu<V> {
    /// Tells its registers and its last exits, line by line. Only while not loaded.
    pub(super) fn describe_state(&self, line: &mut dyn FnMut(Arguments<'_>)) {
        let mut state = Cpu {
            gpr: self.registers.0,
            ..Cpu::default()
        };
        self.control.save(&mut state);
        describe_registers(&state, line);
        for exited in self.trail.iter() {
            line(format_args!("after {exited}"));
        }
    }
}

/// Names of the general registers, in the order of their encoding.
const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

fn describe_registers(state: &Cpu, line: &mut dyn FnMut(Arguments<'_>)) {
    let rsp = state.gpr.get(gpr::RSP).copied().unwrap_or(0);
    line(format_args!(
        "rip {:#x} rsp {rsp:#x} rflags {:#x}",
        state.rip, state.rflags
    ));
    for (names, values) in NAMES.chunks(4).zip(state.gpr.chunks(4)) {
        if let ([a, b, c, d], [first, second, third, fourth]) = (names, values) {
            line(format_args!(
                "{a} {first:#x} {b} {second:#x} {c} {third:#x} {d} {fourth:#x}"
            ));
        }
    }
    line(format_args!(
        "cr0 {:#x} cr2 {:#x} cr3 {:#x} cr4 {:#x} efer {:#x}",
        state.cr0, state.cr2, state.cr3, state.cr4, state.efer
    ));
    line(format_args!(
        "cs {} ss {} gdtr {:#x}+{:#x} idtr {:#x}+{:#x}",
        Shown(state.cs),
        Shown(state.ss),
        state.gdtr.base,
        state.gdtr.limit,
        state.idtr.base,
        state.idtr.limit
    ));
}

/// A segment: selector, attributes and base.
struct Shown(Segment);

impl Display for Shown {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let Segment {
            selector,
            attributes,
            base,
            ..
        } = self.0;
        write!(to, "{selector:#x}/{attributes:#x}/{base:#x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::Memory;

    #[test]
    fn the_last_exits_are_kept_in_their_order() {
        let mut trail = Trail::default();
        assert_eq!(trail.iter().count(), 0);
        for rip in 0..3 {
            trail.note(Event::Cpuid, rip);
        }
        let rips = |trail: &Trail| trail.iter().map(|exited| exited.rip).collect::<Vec<_>>();
        assert_eq!(rips(&trail), [0, 1, 2]);
        for rip in 3..21 {
            trail.note(Event::Halt, rip);
        }
        assert_eq!(rips(&trail), (13..21).collect::<Vec<_>>());
    }

    #[test]
    fn an_exit_is_one_for_people() {
        let memory = Memory {
            gpa: 0xFEE0_0020,
            is_write: true,
            is_fetch: false,
            in_walk: false,
        };
        let exited = Exited {
            event: Event::Memory(memory),
            rip: 0x1234,
        };
        assert_eq!(exited.to_string(), "access to 0xfee00020 at 0x1234");
        assert_eq!(Event::Undefined("vmrun").to_string(), "vmrun");
        assert_eq!(Event::ReadMsr.to_string(), "rdmsr");
    }

    #[test]
    fn registers_are_told_by_name() {
        let mut state = Cpu::default();
        state.gpr[5] = 0x55;
        state.idtr.base = 0x7000;
        let mut text = String::new();
        describe_registers(&state, &mut |line| text += &format!("{line}\n"));
        assert!(text.contains("rsp 0x0 rbp 0x55 rsi 0x0"), "{text}");
        assert!(text.contains("idtr 0x7000+0x0"), "{text}");
    }
}
