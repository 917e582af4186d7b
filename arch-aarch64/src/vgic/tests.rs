//! The controller as a guest drives it.

use super::list::NOTIFY_END;
use super::*;

const DISTRIBUTOR: Frame = Frame::Distributor;
const PRIVATE: Frame = Frame::Private(0);
const TIMER: u32 = 27;
const UPCALL: u32 = 31;

/// A controller with groups on, after what Linux does at boot for the boot CPU.
fn ready(vcpus: u32) -> Gic {
    let mut gic = Gic::new(Version::V3, vcpus);
    let _ = gic.write(DISTRIBUTOR, 0, 4, 0x13);
    for vcpu in 0..vcpus {
        let _ = gic.write(Frame::Private(vcpu), 0x100, 4, u64::from(u32::MAX));
        for offset in 0..8 {
            let _ = gic.write(Frame::Private(vcpu), 0x400 + 4 * offset, 4, 0xA0A0_A0A0);
        }
    }
    gic
}

fn numbers(plan: &Plan) -> std::vec::Vec<u32> {
    plan.lists().iter().map(ListRegister::number).collect()
}

#[test]
fn linux_recognises_a_gicv3_without_lpis() {
    let gic = Gic::new(Version::V3, 2);
    assert_eq!(gic.read(DISTRIBUTOR, 0xFFE8, 4) >> 4 & 0xF, 3);
    let typer = gic.read(DISTRIBUTOR, 4, 4);
    assert_eq!(32 * ((typer & 31) + 1), 288, "INTIDs");
    assert_eq!(typer >> 17 & 1, 0, "LPIs");
    assert_eq!(gic.read(DISTRIBUTOR, 0, 4), 0x50, "ARE and DS");
    assert_eq!(gic.read(Frame::Redistributor(0), 8, 8), 0);
    assert_eq!(
        gic.read(Frame::Redistributor(1), 8, 8),
        1 << 32 | 1 << 8 | 1 << 4
    );
    assert_eq!(gic.read(Frame::Redistributor(1), 12, 4), 1);
}

#[test]
fn a_redistributor_wakes_when_asked() {
    let mut gic = Gic::new(Version::V3, 1);
    assert_eq!(gic.read(Frame::Redistributor(0), 0x14, 4), 6);
    let _ = gic.write(Frame::Redistributor(0), 0x14, 4, 0);
    assert_eq!(gic.read(Frame::Redistributor(0), 0x14, 4), 0);
}

#[test]
fn an_upcall_is_delivered_ended_and_delivered_again() {
    let mut gic = ready(1);
    assert!(gic.raise_private(0, UPCALL));
    let plan = gic.plan(0, 4);
    let list = plan.lists()[0];
    assert_eq!(
        (list.number(), list.pending(), list.priority()),
        (UPCALL, true, 0xA0)
    );
    assert!(!gic.has_deliverable(0), "it is listed");
    // The guest acknowledged it; meanwhile the next one came.
    assert!(gic.raise_private(0, UPCALL), "the vCPU has to look");
    let _ = gic.fold(0, list.with_pending(false).with_active(true));
    let again = gic.plan(0, 4).lists()[0];
    assert!(again.pending() && again.active());
    let _ = gic.fold(0, again.with_pending(false).with_active(false));
    assert!(gic.plan(0, 4).lists().is_empty());
}

#[test]
fn what_is_not_enabled_is_kept_until_it_is() {
    let mut gic = Gic::new(Version::V3, 1);
    assert!(!gic.raise_private(0, UPCALL));
    assert!(gic.plan(0, 4).lists().is_empty());
    let _ = gic.write(PRIVATE, 0x100, 4, 1 << UPCALL);
    assert!(gic.plan(0, 4).lists().is_empty(), "groups are off");
    let effect = gic.write(DISTRIBUTOR, 0, 4, 2);
    assert_eq!(effect.look, 1);
    assert_eq!(numbers(&gic.plan(0, 4)), [UPCALL]);
}

#[test]
fn a_timer_is_linked_until_the_guest_ends_it() {
    let mut gic = ready(1);
    gic.raise_private_linked(0, TIMER);
    let list = gic.plan(0, 4).lists()[0];
    assert_eq!((list.linked(), list.physical()), (true, TIMER));
    let _ = gic.fold(0, list.with_pending(false).with_active(true));
    let active = gic.plan(0, 4).lists()[0];
    assert!(active.linked() && active.active() && !active.pending());
    let _ = gic.fold(0, active.with_active(false));
    assert!(!gic.unlink_timer(0, TIMER));
}

#[test]
fn a_vcpu_that_leaves_its_cpu_takes_its_timer_along() {
    let mut gic = ready(1);
    gic.raise_private_linked(0, TIMER);
    let list = gic.plan(0, 4).lists()[0];
    let _ = gic.fold(0, list.with_pending(false).with_active(true));
    assert!(gic.unlink_timer(0, TIMER));
    assert!(gic.relink_timer(0, TIMER), "active: the physical one again");
    let _ = gic.fold(0, gic.clone().plan(0, 4).lists()[0].with_active(false));
}

#[test]
fn an_spi_goes_where_its_route_says() {
    let mut gic = ready(2);
    assert_eq!(gic.raise_shared(40, true), None, "not enabled");
    let effect = gic.write(DISTRIBUTOR, 0x104, 4, 1 << 8);
    assert_eq!(effect.look, 1);
    let effect = gic.write(DISTRIBUTOR, 0x6000 + 8 * 40, 8, 1);
    assert_eq!(effect.look, 2);
    assert!(gic.plan(0, 4).lists().is_empty());
    let list = gic.plan(1, 4).lists()[0];
    assert_eq!(
        (list.number(), list.physical(), list.linked()),
        (40, 40, true)
    );
    let _ = gic.fold(1, list.with_pending(false));
    assert_eq!(gic.raise_shared(40, true), Some(1));
    let _ = gic.write(DISTRIBUTOR, 0x6000 + 8 * 40, 8, 5);
    assert!(
        !gic.has_deliverable(0) && !gic.has_deliverable(1),
        "no such vCPU"
    );
    let _ = gic.write(DISTRIBUTOR, 0x6000 + 8 * 40, 4, 1 << 31);
    assert!(gic.has_deliverable(0), "any");
}

#[test]
fn a_machines_interrupt_that_is_pending_again_while_active_is_deactivated_by_us() {
    let mut gic = ready(1);
    gic.raise_private_linked(0, TIMER);
    let list = gic.plan(0, 4).lists()[0];
    assert_eq!(
        gic.fold(0, list.with_pending(false).with_active(true)),
        None
    );
    // The guest makes it pending itself.
    let _ = gic.write(PRIVATE, 0x200, 4, 1 << TIMER);
    let list = gic.plan(0, 4).lists()[0];
    assert!(list.pending() && list.active() && !list.linked());
    // It ends the first and takes the second.
    let second = list.with_pending(false);
    assert_eq!(gic.fold(0, second), None);
    let second = gic.plan(0, 4).lists()[0];
    assert!(second.linked() && second.active());
    assert_eq!(gic.fold(0, second.with_active(false)), None, "hardware did");
    // Had it ended both before we looked, nobody had deactivated it.
    gic.raise_private_linked(0, TIMER);
    let list = gic.plan(0, 4).lists()[0].with_linked(false);
    let over = list.with_pending(false).with_active(false);
    assert_eq!(gic.fold(0, over), Some(TIMER));
}

#[test]
fn where_hardware_forgets_lines_the_end_of_a_machines_interrupt_is_noticed() {
    let mut gic = Gic::new(Version::V3, 1).deactivates_by_itself(false);
    let _ = gic.write(DISTRIBUTOR, 0, 4, 0x13);
    let _ = gic.write(PRIVATE, 0x100, 4, 1 << TIMER);
    gic.raise_private_linked(0, TIMER);
    let list = gic.plan(0, 4).lists()[0];
    assert_eq!((list.linked(), list.physical()), (false, NOTIFY_END));
    let active = list.with_pending(false).with_active(true);
    assert_eq!(gic.fold(0, active), None);
    let active = gic.plan(0, 4).lists()[0];
    assert_eq!(gic.fold(0, active.with_active(false)), Some(TIMER));
    assert!(!gic.unlink_timer(0, TIMER));
}

#[test]
fn ending_a_machines_interrupt_by_a_write_deactivates_it() {
    let mut gic = ready(1);
    let _ = gic.write(DISTRIBUTOR, 0x104, 4, 1 << 16);
    assert_eq!(gic.raise_shared(48, true), Some(0));
    let list = gic.plan(0, 4).lists()[0];
    let _ = gic.fold(0, list.with_pending(false).with_active(true));
    let effect = gic.write(DISTRIBUTOR, 0x384, 4, u64::from(u32::MAX));
    assert_eq!(effect.deactivate, (32, 1 << 16));
    assert!(gic.plan(0, 4).lists().is_empty());
}

#[test]
fn when_lists_run_out_the_most_urgent_go_first() {
    let mut gic = ready(1);
    for number in 0..10 {
        let _ = gic.write(
            PRIVATE,
            0x400 + u64::from(number),
            1,
            0xF8 - 8 * u64::from(number),
        );
        assert!(gic.raise_private(0, number));
    }
    gic.private[0].active = 1 << 3;
    let plan = gic.plan(0, 4);
    let mut listed = numbers(&plan);
    listed.sort_unstable();
    assert_eq!(listed, [6, 7, 8, 9]);
    assert!(plan.overflow && plan.active_left_out);
    for list in plan.lists() {
        let _ = gic.fold(0, list.with_pending(false).with_active(false));
    }
    assert_eq!(numbers(&gic.plan(0, 4)).len(), 4);
}

#[test]
fn of_one_priority_what_is_active_goes_first() {
    let mut gic = ready(1);
    for number in 0..6 {
        assert!(gic.raise_private(0, number));
    }
    gic.private[0].active = 1 << 5;
    assert!(numbers(&gic.plan(0, 4)).contains(&5));
}

#[test]
fn active_ones_that_do_not_fit_end_by_count() {
    let mut gic = ready(1);
    gic.private[0].active = 0b11_1110;
    let plan = gic.plan(0, 4);
    assert!(plan.active_left_out);
    assert_eq!(gic.private[0].active.count_ones(), 1);
    assert!(gic.end_unlisted(0, 3).is_empty());
    assert_eq!(gic.private[0].active, 0);
}

#[test]
fn a_counted_end_is_the_most_urgent_unlisted_ones_of_any_kind() {
    let mut gic = ready(2);
    gic.private[0].active = 1 << 3;
    for (spi, priority) in [(40_u64, 0x20_u8), (41, 0x10), (42, 0x08)] {
        let _ = gic.write(DISTRIBUTOR, 0x400 + spi, 1, u64::from(priority));
        let _ = gic.write(DISTRIBUTOR, 0x304, 4, 1 << (spi - 32));
    }
    // Another vCPU's.
    let _ = gic.write(DISTRIBUTOR, 0x6000 + 8 * 42, 8, 1);
    gic.shared[0].linked = 1 << 9;
    assert_eq!(gic.end_unlisted(0, 1)[..], [41], "it has a physical one");
    assert_eq!(gic.shared[0].active, 1 << 8 | 1 << 10);
    assert_eq!(gic.shared[0].linked, 0);
    assert!(gic.end_unlisted(0, 9).is_empty());
    assert_eq!((gic.shared[0].active, gic.private[0].active), (1 << 10, 0));
}

#[test]
fn sgis_reach_the_targets_and_not_the_sender() {
    let mut gic = ready(4);
    let list = |targets: u64, number: u64| number << 24 | targets;
    assert_eq!(gic.send_sgi(list(0b1010, 5), 0, true), 0b1010);
    assert_eq!(gic.send_sgi(1 << 40 | 7 << 24, 2, true), 0b1011);
    assert_eq!(
        gic.send_sgi(list(0b1, 5) | 1 << 16, 0, true),
        0,
        "cluster 1"
    );
    assert_eq!(gic.send_sgi(list(0b1, 5) | 1 << 44, 0, true), 0, "range 1");
    assert_eq!(gic.send_sgi(list(0xFFF0, 5), 0, true), 0, "nobody there");
    assert_eq!(gic.send_sgi(list(0b1, 6), 0, false), 0, "group 0");
    assert_eq!(numbers(&gic.plan(3, 4)), [5, 7]);
}

#[test]
fn registers_read_back_what_was_written() {
    let mut gic = Gic::new(Version::V3, 1);
    let _ = gic.write(PRIVATE, 0x41B, 1, 0x5F);
    assert_eq!(gic.read(PRIVATE, 0x418, 4), 0x5800_0000);
    let _ = gic.write(PRIVATE, 0xC04, 4, 0x8000_0000);
    assert_eq!(gic.read(PRIVATE, 0xC04, 4), 0x8000_0000);
    let _ = gic.write(PRIVATE, 0xC00, 4, 0);
    assert_eq!(gic.read(PRIVATE, 0xC00, 4), 0xAAAA_AAAA, "SGIs stay edges");
    let _ = gic.write(PRIVATE, 0x300, 4, 6);
    let _ = gic.write(PRIVATE, 0x380, 4, 2);
    assert_eq!(gic.read(PRIVATE, 0x300, 4), 4);
    let _ = gic.write(DISTRIBUTOR, 0x6100, 8, u64::MAX);
    assert_eq!(gic.read(DISTRIBUTOR, 0x6100, 8), 0xFF_80FF_FFFF);
    assert_eq!(gic.read(DISTRIBUTOR, 0x6104, 4), 0xFF);
}

#[test]
fn no_access_panics() {
    let mut gic = ready(16);
    let frames = [
        DISTRIBUTOR,
        PRIVATE,
        Frame::Private(15),
        Frame::Private(99),
        Frame::Redistributor(31),
    ];
    for frame in frames {
        for offset in 0..0x1_0000 {
            for size in [1, 2, 4, 8] {
                let _ = gic.read(frame, offset, size);
            }
            let _ = gic.write(frame, offset, 4, u64::MAX);
        }
    }
    for vcpu in 0..20 {
        let _ = gic.plan(vcpu, 4);
        let _ = gic.fold(vcpu, ListRegister::from_bits(u64::MAX));
        let _ = gic.has_deliverable(vcpu);
    }
    let _ = gic.raise_shared(u32::MAX, true);
    let _ = gic.send_sgi(u64::MAX, 15, true);
}

#[test]
fn records_come_back_and_every_flipped_bit_is_harmless() {
    use zerocopy::{FromBytes, IntoBytes};
    let mut gic = ready(2);
    let _ = gic.write(DISTRIBUTOR, 0x104, 4, 1 << 8);
    let _ = gic.raise_shared(40, false);
    assert!(gic.raise_private(1, UPCALL));
    let (distributor, private) = (gic.save_distributor(), gic.save_private(1));
    let mut other = Gic::new(Version::V3, 2);
    assert!(other.restore_distributor(&distributor).is_ok());
    assert!(other.restore_private(1, &private).is_ok());
    assert_eq!(numbers(&other.plan(0, 4)), [40]);
    assert_eq!(numbers(&other.plan(1, 4)), [UPCALL]);

    let bytes = private.as_bytes();
    for bit in 0..8 * bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let record = hv_abi::record::arm::Redistributor::read_from_bytes(&flipped);
        let mut victim = Gic::new(Version::V3, 2);
        let _ = record.map(|record| victim.restore_private(1, &record));
        let _ = victim.plan(1, 4);
    }
    let mut wrong = distributor;
    wrong.ctlr |= 1 << 8;
    assert!(other.restore_distributor(&wrong).is_err());
    assert!(other.restore_private(2, &private).is_err());
}

/// A controller with SPI 40 enabled, level-triggered as at reset, for vCPU 0.
fn with_input() -> Gic {
    let mut gic = ready(1);
    let _ = gic.write(DISTRIBUTOR, 0x104, 4, 1 << 8);
    let _ = gic.write(DISTRIBUTOR, 0x6000 + 8 * 40, 8, 0);
    gic
}

#[test]
fn a_level_is_signalled_until_the_input_falls() {
    let mut gic = with_input();
    assert_eq!(gic.set_input(40, true), Some(0));
    let list = gic.plan(0, 4).lists()[0];
    assert_eq!((list.number(), list.physical()), (40, NOTIFY_END));
    // Handled, but the device still wants something.
    let _ = gic.fold(0, list.with_pending(false));
    let again = gic.plan(0, 4).lists()[0];
    assert!(again.pending());
    // It falls before the guest takes it: nothing is left.
    assert_eq!(gic.set_input(40, false), Some(0), "what is listed is over");
    let _ = gic.fold(0, again);
    assert!(gic.plan(0, 4).lists().is_empty());
    assert_eq!(gic.set_input(40, false), None);
}

#[test]
fn what_a_guest_made_pending_outlives_the_input() {
    let mut gic = with_input();
    assert_eq!(gic.set_input(40, true), Some(0));
    let _ = gic.write(DISTRIBUTOR, 0x204, 4, 1 << 8);
    let list = gic.plan(0, 4).lists()[0];
    let _ = gic.set_input(40, false);
    let _ = gic.fold(0, list);
    assert!(gic.plan(0, 4).lists()[0].pending());
}

#[test]
fn an_edge_is_taken_once_per_rise() {
    let mut gic = with_input();
    let _ = gic.write(DISTRIBUTOR, 0xC00 + 4 * 2, 4, 2 << (2 * 8));
    assert_eq!(gic.set_input(40, true), Some(0));
    let list = gic.plan(0, 4).lists()[0];
    let _ = gic.fold(0, list.with_pending(false));
    assert_eq!(gic.set_input(40, true), None, "it was high already");
    assert!(gic.plan(0, 4).lists().is_empty());
    assert_eq!(gic.set_input(40, false), None);
    assert_eq!(gic.set_input(40, true), Some(0));
}
