//! Any sequence of a guest's steps against a model: no interrupt is lost, none is taken twice, and always the most urgent
//! one is taken.
//!
//! [`Machine`] is the controller with a CPU interface as the manual describes it: it takes from list registers, counts the
//! ends of what is in none, and asks for a look as it was told to. [`Model`] is what the guest may expect, without any
//! list registers.

use std::collections::BTreeMap;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// PPIs and SPIs that are used.
const NUMBERS: [u32; 20] = [
    16, 17, 18, 19, 20, 21, 40, 41, 42, 43, 44, 45, 46, 47, 70, 71, 72, 73, 74, 75,
];
const IDLE: u8 = 0xFF;

#[derive(Clone, Copy, Debug)]
enum Step {
    SetPending(usize),
    ClearPending(usize),
    Enable(usize, bool),
    Prioritise(usize, u8),
    ClearActive,
    Groups(bool),
    /// The machine raises it.
    Raise(usize),
    Acknowledge,
    End,
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let number = || 0..NUMBERS.len();
    let step = prop_oneof![
        4 => number().prop_map(Step::SetPending),
        1 => number().prop_map(Step::ClearPending),
        1 => (number(), any::<bool>()).prop_map(|(number, on)| Step::Enable(number, on)),
        2 => (number(), 0..31_u8).prop_map(|(number, level)| Step::Prioritise(number, level << 3)),
        1 => Just(Step::ClearActive),
        1 => any::<bool>().prop_map(Step::Groups),
        3 => number().prop_map(Step::Raise),
        8 => Just(Step::Acknowledge),
        6 => Just(Step::End),
        1 => Just(Step::Look),
    ];
    prop::collection::vec(step, 1..300)
}

/// What the guest may expect of one interrupt.
#[derive(Clone, Copy, Debug)]
struct Expected {
    enabled: bool,
    pending: bool,
    active: bool,
    priority: u8,
}

#[derive(Debug)]
struct Model {
    lines: BTreeMap<u32, Expected>,
    groups: bool,
}

impl Model {
    fn new() -> Self {
        let line = Expected {
            enabled: true,
            pending: false,
            active: false,
            priority: 0xA0,
        };
        Self {
            lines: NUMBERS.iter().map(|number| (*number, line)).collect(),
            groups: true,
        }
    }

    /// The priority of what has to be taken now.
    fn next(&self, running: u8) -> Option<u8> {
        let ready = |line: &&Expected| line.enabled && line.pending && !line.active;
        let most_urgent = self.lines.values().filter(ready).map(|line| line.priority);
        most_urgent
            .min()
            .filter(|priority| self.groups && *priority < running)
    }

    fn line(&mut self, number: u32) -> &mut Expected {
        self.lines.get_mut(&number).expect("one of ours")
    }
}

/// The controller and its CPU interface.
struct Machine {
    gic: Gic,
    capacity: usize,
    lists: Vec<ListRegister>,
    overflow: bool,
    counts: bool,
    ends: u32,
    /// What is being handled, the innermost last: number, priority when it was taken.
    running: Vec<(u32, u8)>,
}

impl Machine {
    fn new(version: Version, capacity: usize) -> Self {
        let mut machine = Self {
            gic: Gic::new(version, 1),
            capacity,
            lists: Vec::new(),
            overflow: false,
            counts: false,
            ends: 0,
            running: Vec::new(),
        };
        machine.groups(true);
        for number in NUMBERS {
            machine.write_bit(number, 0x100);
            machine.prioritise(number, 0xA0);
            // An edge.
            let (frame, bit) = (machine.frame(number), 2 << (2 * (number % 16)));
            let register = 0xC00 + 4 * u64::from(number / 16);
            let others = machine.gic.read(frame, register, 4);
            machine.write(frame, register, 4, others | bit);
        }
        machine
    }

    fn frame(&self, number: u32) -> Frame {
        match (self.gic.version, number) {
            (Version::V2, _) => Frame::Banked(0),
            (Version::V3, 0..32) => Frame::Private(0),
            (Version::V3, _) => Frame::Distributor,
        }
    }

    /// As a trapped access: what is listed is folded first, and looked at again after.
    fn write(&mut self, frame: Frame, offset: u64, size: u8, value: u64) {
        self.fold();
        let _effect = self.gic.write(frame, offset, size, value);
        self.refill();
    }

    fn write_bit(&mut self, number: u32, register: u64) {
        let offset = register + 4 * u64::from(number / 32);
        self.write(self.frame(number), offset, 4, 1 << (number % 32));
    }

    fn prioritise(&mut self, number: u32, priority: u8) {
        let offset = 0x400 + u64::from(number);
        self.write(self.frame(number), offset, 1, u64::from(priority));
    }

    fn groups(&mut self, on: bool) {
        let frame = match self.gic.version {
            Version::V2 => Frame::Banked(0),
            Version::V3 => Frame::Distributor,
        };
        self.write(frame, 0, 4, if on { 3 } else { 0 });
    }

    fn raise(&mut self, number: u32) {
        let looks = match number {
            0..32 => self.gic.raise_private(0, number),
            _ => self.gic.raise_shared(number, false).is_some(),
        };
        if looks {
            self.refill();
        }
    }

    fn fold(&mut self) {
        if core::mem::take(&mut self.ends) > 0 {
            panic!("a counted end was not looked at");
        }
        for list in self.lists.drain(..) {
            let _none_are_the_machines = self.gic.fold(0, list);
        }
    }

    fn refill(&mut self) {
        let ends = core::mem::take(&mut self.ends);
        assert!(self.gic.end_unlisted(0, ends).is_empty());
        self.fold();
        let plan = self.gic.plan(0, self.capacity);
        self.lists = plan.lists().to_vec();
        (self.overflow, self.counts) = (plan.overflow, plan.active_left_out);
    }

    fn running_priority(&self) -> u8 {
        self.running.last().map_or(IDLE, |(_, priority)| *priority)
    }

    fn acknowledge(&mut self) -> Option<u32> {
        let running = self.running_priority();
        let groups = self.gic.ctlr != 0;
        let ready = self
            .lists
            .iter_mut()
            .filter(|list| groups && list.pending() && !list.active() && list.priority() < running);
        let list = ready.min_by_key(|list| list.priority())?;
        *list = list.with_pending(false).with_active(true);
        let (number, priority) = (list.number(), list.priority());
        self.running.push((number, priority));
        self.maintain(false);
        Some(number)
    }

    fn end(&mut self) -> Option<u32> {
        let (number, _) = self.running.pop()?;
        let list = self
            .lists
            .iter_mut()
            .find(|list| list.number() == number && list.active());
        let asked = match list {
            Some(list) => {
                *list = list.with_active(false);
                !list.linked() && list.physical() >> 9 & 1 != 0
            }
            None => {
                assert!(self.counts, "nobody would have noticed the end of {number}");
                self.ends += 1;
                true
            }
        };
        self.maintain(asked);
        Some(number)
    }

    /// The maintenance interrupt.
    fn maintain(&mut self, asked: bool) {
        let valid = self
            .lists
            .iter()
            .filter(|list| list.pending() || list.active());
        if asked || self.overflow && valid.count() <= 1 {
            self.refill();
        }
    }
}

fn apply(step: Step, machine: &mut Machine, model: &mut Model) -> Result<(), TestCaseError> {
    match step {
        Step::SetPending(index) => {
            machine.write_bit(NUMBERS[index], 0x200);
            model.line(NUMBERS[index]).pending = true;
        }
        Step::ClearPending(index) => {
            machine.write_bit(NUMBERS[index], 0x280);
            model.line(NUMBERS[index]).pending = false;
        }
        Step::Enable(index, enabled) => {
            let number = NUMBERS[index];
            machine.write_bit(number, if enabled { 0x100 } else { 0x180 });
            model.line(number).enabled = enabled;
        }
        // What a new priority does to an interrupt that is being handled is open.
        Step::Prioritise(index, priority) if !model.line(NUMBERS[index]).active => {
            machine.prioritise(NUMBERS[index], priority);
            model.line(NUMBERS[index]).priority = priority;
        }
        Step::Prioritise(..) => {}
        // The end of what was made inactive would be counted for another one if there are more than fit: only alone.
        Step::ClearActive if machine.running.len() == 1 => {
            let (number, _) = machine.running[0];
            machine.write_bit(number, 0x380);
            machine.running.clear();
            model.line(number).active = false;
        }
        Step::ClearActive => {}
        Step::Groups(on) => {
            machine.groups(on);
            model.groups = on;
        }
        Step::Raise(index) => {
            machine.raise(NUMBERS[index]);
            model.line(NUMBERS[index]).pending = true;
        }
        Step::Acknowledge => {
            let expected = model.next(machine.running_priority());
            let taken = machine.acknowledge();
            prop_assert_eq!(taken.map(|number| model.line(number).priority), expected);
            if let Some(number) = taken {
                let line = model.line(number);
                prop_assert!(line.enabled && line.pending && !line.active, "{}", number);
                (line.pending, line.active) = (false, true);
            }
        }
        Step::End => {
            if let Some(number) = machine.end() {
                model.line(number).active = false;
            }
        }
        Step::Look => machine.refill(),
    }
    Ok(())
}

/// After everything, whatever is pending and enabled is taken once, and nothing else.
fn drain(machine: &mut Machine, model: &mut Model) -> Result<(), TestCaseError> {
    apply(Step::Groups(true), machine, model)?;
    while !machine.running.is_empty() {
        apply(Step::End, machine, model)?;
    }
    for _ in 0..=NUMBERS.len() {
        apply(Step::Acknowledge, machine, model)?;
        apply(Step::End, machine, model)?;
    }
    for (number, line) in &model.lines {
        prop_assert!(!(line.active || line.pending && line.enabled), "{}", number);
    }
    machine.fold();
    let active = |bank: &Bank| bank.active | bank.listed;
    prop_assert_eq!(active(&machine.gic.private[0]), 0);
    prop_assert!(machine.gic.shared.iter().all(|bank| active(bank) == 0));
    Ok(())
}

proptest! {
    #[test]
    fn no_interrupt_is_lost_or_taken_twice(steps in steps(), v2: bool, capacity in 1_usize..6) {
        let version = if v2 { Version::V2 } else { Version::V3 };
        let (mut machine, mut model) = (Machine::new(version, capacity), Model::new());
        for step in steps {
            apply(step, &mut machine, &mut model)?;
        }
        drain(&mut machine, &mut model)?;
    }
}
