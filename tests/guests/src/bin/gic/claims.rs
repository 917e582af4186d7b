//! The claims. Each starts with nothing pending or active, and leaves it so.

use guests::gic::interface::{
    acknowledge, deactivate, end, highest_pending, running_priority, send_to_others, send_to_self,
    set_binary_point, set_priority_mask, split_end,
};
use guests::gic::lines::{Bit, Line};
use guests::gic::{is_v2, read, read_byte, read_half, write, write_byte, write_half};
use guests::{say, timer};
use hv_abi::layout::arm::{GICD_BASE, GICR_BASE, VIRTUAL_TIMER_INTID};

/// What is acknowledged when nothing is pending.
const NOTHING: u32 = 1023;
/// The running priority when nothing is being handled.
const IDLE: u32 = 0xFF;
/// The lowest that lets everything through.
const ALL: u32 = 0xF8;
/// First SPI that is used here.
const FIRST: u32 = 40;
/// More interrupts than there are list registers (16 at most).
const MANY: u32 = 24;
/// More active interrupts than list registers of the emulated machine (4).
const NESTED: u32 = 12;

type Claim = (&'static str, fn());

const CLAIMS: [Claim; 21] = [
    ("identification", identification),
    ("enabling", enabling),
    ("pending", pending),
    ("active", active),
    ("priorities", priorities),
    ("priority mask", priority_mask),
    ("preemption", preemption),
    ("binary point", binary_point),
    ("SGIs to self", sgis),
    ("SGI registers of a GICv2", sgi_registers),
    ("more pending than list registers", many_pending),
    ("more active than list registers", many_active),
    ("setting and clearing active", set_active),
    ("split end", split),
    ("configuration", configuration),
    ("groups", groups),
    ("routing", routing),
    ("sizes of accesses", sizes),
    ("reserved registers", reserved),
    ("the timer's level", timer_level),
    ("pending again at its end", again),
];

/// Makes all claims.
pub(crate) fn hold() {
    say!("a GICv{}", if is_v2() { 2 } else { 3 });
    for spi in spis(MANY) {
        spi.set_edge(true);
        spi.set_priority(0xA0);
        spi.set(Bit::Group, !is_v2());
        spi.route(true);
        spi.write(Bit::Enable);
    }
    (0..16).map(Line).for_each(|sgi| sgi.write(Bit::Enable));
    set_priority_mask(ALL);
    set_binary_point(0);
    for (name, claim) in CLAIMS {
        claim();
        assert_eq!(
            acknowledge_number(),
            NOTHING,
            "something pending after {name}"
        );
        assert_eq!(running_priority(), IDLE, "something running after {name}");
        say!("  {name}");
    }
}

fn spis(count: u32) -> impl DoubleEndedIterator<Item = Line> + Clone {
    (FIRST..FIRST + count).map(Line)
}

fn acknowledge_number() -> u32 {
    acknowledge() & 0x3FF
}

/// Waits for an interrupt that is on its way: a maintenance interrupt may come first.
fn acknowledge_soon() -> u32 {
    for _ in 0..1000 {
        let taken = acknowledge();
        if taken & 0x3FF != NOTHING {
            return taken;
        }
    }
    NOTHING
}

#[track_caller]
fn take(line: Line) -> u32 {
    let taken = acknowledge_soon();
    assert_eq!(taken & 0x3FF, line.0, "another one was acknowledged");
    taken
}

#[track_caller]
fn take_and_end(line: Line) {
    let taken = take(line);
    end(taken);
}

#[track_caller]
fn nothing_comes() {
    assert_eq!(acknowledge_number(), NOTHING);
}

fn identification() {
    let lines = 32 * ((read(GICD_BASE + 4) & 0x1F) + 1);
    assert!((FIRST + MANY..=1024).contains(&lines), "{lines} lines");
    assert_eq!(read(GICD_BASE + 8) & 0xFFF, 0x43B, "IIDR: Arm");
    let (offset, revision) = if is_v2() { (0xFE8, 2) } else { (0xFFE8, 3) };
    assert_eq!(read(GICD_BASE + offset) >> 4 & 0xF, revision, "PIDR2");
    if !is_v2() {
        assert_eq!(read(GICR_BASE + 0xFFE8) >> 4 & 0xF, 3, "GICR_PIDR2");
        assert_ne!(read(GICR_BASE + 8) & 1 << 4, 0, "GICR_TYPER.Last");
    }
}

fn enabling() {
    let line = Line(FIRST);
    line.write(Bit::Disable);
    assert!(!line.is(Bit::Enable) && !line.is(Bit::Disable));
    line.write(Bit::SetPending);
    nothing_comes();
    assert!(line.is(Bit::SetPending), "it waits");
    line.write(Bit::Enable);
    assert!(line.is(Bit::Disable));
    take_and_end(line);
    assert!(!line.is(Bit::SetPending) && !line.is(Bit::SetActive));
}

fn pending() {
    let (line, other) = (Line(FIRST), Line(FIRST + 1));
    line.write(Bit::SetPending);
    other.write(Bit::SetPending);
    assert!(line.is(Bit::ClearPending) && other.is(Bit::SetPending));
    line.write(Bit::ClearPending);
    assert!(!line.is(Bit::SetPending));
    assert_eq!(highest_pending() & 0x3FF, other.0);
    take_and_end(other);
}

fn active() {
    let line = Line(FIRST);
    line.write(Bit::SetPending);
    let taken = take(line);
    assert!(line.is(Bit::SetActive) && line.is(Bit::ClearActive));
    assert!(!line.is(Bit::SetPending));
    assert_eq!(running_priority(), 0xA0);
    end(taken);
    assert!(!line.is(Bit::SetActive));
    assert_eq!(running_priority(), IDLE);
}

fn priorities() {
    let order = [(3, 0x80), (1, 0x88), (0, 0xC0), (2, 0xE8)];
    for (number, priority) in order {
        Line(FIRST + number).set_priority(priority);
        assert_eq!(Line(FIRST + number).priority(), priority);
    }
    for number in 0..4 {
        Line(FIRST + number).write(Bit::SetPending);
    }
    for (number, priority) in order {
        let taken = take(Line(FIRST + number));
        assert_eq!(running_priority(), u32::from(priority));
        end(taken);
    }
    spis(4).for_each(|spi| spi.set_priority(0xA0));
}

fn priority_mask() {
    let line = Line(FIRST);
    set_priority_mask(0xA0);
    line.write(Bit::SetPending);
    nothing_comes();
    set_priority_mask(0xA8);
    take_and_end(line);
    set_priority_mask(ALL);
}

fn preemption() {
    let (low, high, same) = (Line(FIRST), Line(FIRST + 1), Line(FIRST + 2));
    high.set_priority(0x50);
    low.write(Bit::SetPending);
    let outer = take(low);
    same.write(Bit::SetPending);
    nothing_comes();
    high.write(Bit::SetPending);
    let inner = take(high);
    assert_eq!(running_priority(), 0x50);
    assert!(low.is(Bit::SetActive) && high.is(Bit::SetActive));
    end(inner);
    assert_eq!(running_priority(), 0xA0);
    nothing_comes();
    end(outer);
    take_and_end(same);
    high.set_priority(0xA0);
}

fn binary_point() {
    let (low, high) = (Line(FIRST), Line(FIRST + 1));
    high.set_priority(0x98);
    // The most significant bit at most counts: no preemption, but still the order.
    set_binary_point(7);
    low.write(Bit::SetPending);
    let taken = take(low);
    high.write(Bit::SetPending);
    nothing_comes();
    end(taken);
    low.write(Bit::SetPending);
    take_and_end(high);
    take_and_end(low);
    set_binary_point(0);
    high.set_priority(0xA0);
}

fn sgis() {
    for number in [0, 7, 15] {
        send_to_self(number);
        assert!(Line(number).is(Bit::SetPending));
        take_and_end(Line(number));
    }
    send_to_others(3);
    assert!(!Line(3).is(Bit::SetPending), "there are no others");
    send_to_self(3);
    let taken = take(Line(3));
    send_to_self(3);
    nothing_comes();
    end(taken);
    take_and_end(Line(3));
}

fn sgi_registers() {
    const CLEAR: u64 = GICD_BASE + 0xF10;
    const SET: u64 = GICD_BASE + 0xF20;
    if !is_v2() {
        // With affinity routing they are not there.
        write(SET, 1);
        return nothing_comes();
    }
    write_byte(SET + 5, 1);
    assert_eq!((read_byte(CLEAR + 5), read(SET + 4)), (1, 1 << 8));
    write_byte(CLEAR + 5, 1);
    nothing_comes();
    write(SET + 4, 1 << 8);
    take_and_end(Line(5));
    write(GICD_BASE + 0x280, 1 << 5);
    write(GICD_BASE + 0x200, 1 << 5);
    nothing_comes();
    assert_eq!(read(GICD_BASE + 0x800), 0, "one CPU: no targets");
}

fn many_pending() {
    // The most urgent ones become pending last.
    for (number, spi) in (0..).zip(spis(MANY)) {
        spi.set_priority(0xE0 - 8 * number);
        spi.write(Bit::SetPending);
    }
    for spi in spis(MANY).rev() {
        take_and_end(spi);
    }
    // The other way round, all of the same priority: each comes once.
    let mut seen = 0_u32;
    for spi in spis(MANY).rev() {
        spi.set_priority(0xA0);
        spi.write(Bit::SetPending);
    }
    for _ in 0..MANY {
        let taken = acknowledge_soon();
        let bit = 1 << (taken & 0x3FF).saturating_sub(FIRST).min(31);
        assert_eq!(seen & bit, 0, "{taken} came twice");
        seen |= bit;
        end(taken);
    }
    assert_eq!(seen, (1 << MANY) - 1, "one was lost");
}

fn many_active() {
    for (number, spi) in (0..).zip(spis(NESTED)) {
        spi.set_priority(0xE0 - 8 * number);
        spi.write(Bit::SetPending);
        let _nested = take(spi);
        assert_eq!(running_priority(), u32::from(0xE0 - 8 * number));
    }
    spis(NESTED).for_each(|spi| assert!(spi.is(Bit::SetActive), "{spi:?} is lost"));
    for spi in spis(NESTED).rev() {
        assert_eq!(running_priority(), u32::from(spi.priority()));
        end(spi.0);
    }
    for spi in spis(NESTED) {
        assert!(!spi.is(Bit::SetActive), "{spi:?} stays active");
        spi.set_priority(0xA0);
        spi.write(Bit::SetPending);
        take_and_end(spi);
    }
}

fn set_active() {
    let line = Line(FIRST);
    line.write(Bit::SetActive);
    assert!(line.is(Bit::ClearActive));
    assert_eq!(running_priority(), IDLE, "active without having come");
    line.write(Bit::SetPending);
    nothing_comes();
    line.write(Bit::ClearActive);
    take_and_end(line);
    line.write(Bit::SetPending);
    let taken = take(line);
    line.write(Bit::ClearActive);
    assert!(!line.is(Bit::SetActive));
    assert_eq!(running_priority(), 0xA0, "the priority is not dropped");
    end(taken);
}

fn split() {
    let (line, other) = (Line(FIRST), Line(FIRST + 1));
    split_end(true);
    line.write(Bit::SetPending);
    let taken = take(line);
    end(taken);
    assert_eq!(running_priority(), IDLE);
    assert!(line.is(Bit::SetActive), "only its priority is dropped");
    line.write(Bit::SetPending);
    other.write(Bit::SetPending);
    let second = take(other);
    end(second);
    deactivate(second);
    nothing_comes();
    deactivate(taken);
    let taken = take(line);
    end(taken);
    deactivate(taken);
    assert!(!line.is(Bit::SetActive));
    split_end(false);
}

fn configuration() {
    for line in [Line(FIRST), Line(20)] {
        line.set_edge(false);
        assert!(!line.is_edge());
        line.set_edge(true);
        assert!(line.is_edge());
    }
    Line(20).set_edge(false);
    Line(2).set_edge(false);
    assert!(Line(2).is_edge(), "SGIs are edges for ever");
}

fn groups() {
    let line = Line(FIRST);
    let own = !is_v2();
    line.set(Bit::Group, !own);
    assert_eq!(line.is(Bit::Group), !own);
    line.write(Bit::SetPending);
    nothing_comes();
    line.set(Bit::Group, own);
    take_and_end(line);
    let control = read(GICD_BASE);
    write(GICD_BASE, 0);
    line.write(Bit::SetPending);
    nothing_comes();
    write(GICD_BASE, control);
    take_and_end(line);
}

fn routing() {
    let line = Line(FIRST);
    if is_v2() {
        // A single CPU has nothing to choose.
        line.route(false);
        line.write(Bit::SetPending);
        return take_and_end(line);
    }
    line.route(false);
    line.write(Bit::SetPending);
    nothing_comes();
    line.route(true);
    take_and_end(line);
    let register = GICD_BASE + 0x6000 + 8 * u64::from(line.0);
    write(register, 1 << 31);
    assert_eq!(read(register), 1 << 31, "to any");
    line.write(Bit::SetPending);
    take_and_end(line);
    line.route(true);
}

fn sizes() {
    let priorities = GICD_BASE + 0x400 + u64::from(FIRST);
    write(priorities, 0x4050_6070);
    assert_eq!(read_byte(priorities + 1), 0x60);
    write_byte(priorities + 1, 0xFF);
    assert_eq!(read(priorities), 0x4050_F870, "five bits of a priority");
    write_half(priorities + 2, 0x1020);
    assert_eq!(read_half(priorities + 2), 0x1020);
    write(priorities, 0xA0A0_A0A0);
    let enabled = GICD_BASE + 0x100 + 4 * u64::from(FIRST / 32);
    let before = read(enabled);
    write_byte(enabled + 0x80, 0xFF);
    write_half(enabled + 0x80, 0xFFFF);
    assert_eq!(read(enabled), before, "only words");
}

fn reserved() {
    for offset in [0xC, 0x40, 0x7C, 0xD00, 0xE00, 0xFC0] {
        write(GICD_BASE + offset, u32::MAX);
        assert_eq!(read(GICD_BASE + offset), 0, "{offset:#x}");
    }
    // Beyond the last interrupt.
    write(GICD_BASE + 0x17C, u32::MAX);
    assert_eq!(read(GICD_BASE + 0x17C), 0);
    write(GICD_BASE + 0x7FC, u32::MAX);
    assert_eq!(read(GICD_BASE + 0x7FC), 0);
}

fn timer_level() {
    let line = Line(VIRTUAL_TIMER_INTID);
    timer::set(timer::now());
    let taken = take(line);
    end(taken);
    // Its condition still holds.
    let taken = take(line);
    timer::stop();
    end(taken);
    nothing_comes();
    assert!(!line.is(Bit::SetActive));
    timer::set(timer::now());
    let taken = take(line);
    timer::stop();
    line.write(Bit::ClearActive);
    end(taken);
    nothing_comes();
    timer::set(timer::now());
    let taken = take(line);
    timer::stop();
    end(taken);
}

fn again() {
    let line = Line(FIRST);
    line.write(Bit::SetPending);
    let mut taken = take(line);
    for _ in 0..100 {
        line.write(Bit::SetPending);
        assert!(line.is(Bit::SetPending) && line.is(Bit::SetActive));
        nothing_comes();
        end(taken);
        taken = take(line);
    }
    end(taken);
}
