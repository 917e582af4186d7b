//! A GICv2 as guests drive it.

use super::super::{Frame, Plan, Version};
use super::*;

const UPCALL: u32 = 31;

/// A controller with groups on and all private interrupts enabled.
fn ready(vcpus: u32) -> Gic {
    let mut gic = Gic::new(Version::V2, vcpus);
    let _ = gic.write(Frame::Banked(0), 0, 4, 3);
    for vcpu in 0..vcpus {
        let _ = gic.write(Frame::Banked(vcpu), 0x100, 4, u64::from(u32::MAX));
    }
    gic
}

fn numbers(plan: &Plan) -> std::vec::Vec<u32> {
    plan.lists().iter().map(ListRegister::number).collect()
}

/// GICD_SGIR: a filter, a target list, an SGI.
fn sgir(filter: u64, list: u64, number: u64) -> u64 {
    filter << 24 | list << 16 | number
}

#[test]
fn list_registers_are_laid_out_as_the_manual_says() {
    let list = ListRegister::new()
        .with_number(27)
        .with_physical(27)
        .with_priority(0xA0)
        .with_group1(true)
        .with_linked(true)
        .with_pending(true);
    assert_eq!(
        encode_list(list),
        1 << 31 | 1 << 30 | 1 << 28 | 0x14 << 23 | 27 << 10 | 27
    );
    let notify = ListRegister::new()
        .with_number(3)
        .with_physical(5 | NOTIFY_END)
        .with_active(true);
    assert_eq!(encode_list(notify), 1 << 29 | 1 << 19 | 5 << 10 | 3);
    for list in [list, notify] {
        assert_eq!(decode_list(encode_list(list)), list);
    }
    for bits in 0..32 {
        let bits = 1_u32 << bits & !(7 << 20);
        assert_eq!(encode_list(decode_list(bits)), bits);
    }
}

#[test]
fn linux_recognises_a_gic_400() {
    let gic = ready(4);
    let read = |vcpu, offset, size| gic.read(Frame::Banked(vcpu), offset, size);
    let typer = read(0, 4, 4);
    assert_eq!(32 * ((typer & 31) + 1), 288, "INTIDs");
    assert_eq!(typer >> 5 & 7, 3, "CPU interfaces but one");
    assert_eq!(typer >> 10 & 1, 0, "security extension");
    assert_eq!(read(0, 8, 4), 0x0200_143B);
    assert_eq!(read(0, 0xFE8, 4) >> 4 & 0xF, 2, "architecture revision");
    assert_eq!(
        (read(0, 0xFF0, 4), read(0, 0xFFC, 4)),
        (0x0D, 0xB1),
        "component identification"
    );
    assert_eq!(read(3, 0x800, 4), 0x0808_0808, "its own target");
    assert_eq!(read(2, 0x81F, 1), 4);
    assert_eq!(read(0, 0x820, 4), 0, "an SPI goes nowhere at reset");
    assert_eq!(read(0, 0x80, 4), 0, "group 0 at reset");
}

#[test]
fn a_single_vcpu_is_every_interrupts_target() {
    let mut gic = ready(1);
    let _ = gic.write(Frame::Banked(0), 0x828, 4, 0x0101_0101);
    assert_eq!(gic.read(Frame::Banked(0), 0x828, 4), 0);
    assert_eq!(gic.read(Frame::Banked(0), 0x800, 4), 0);
    let _ = gic.write(Frame::Banked(0), 0x104, 4, 1 << 8);
    assert_eq!(gic.raise_shared(40, false), Some(0));
}

#[test]
fn an_spi_goes_to_the_first_of_its_targets() {
    let mut gic = ready(4);
    let _ = gic.write(Frame::Banked(0), 0x104, 4, 1 << 8);
    assert_eq!(gic.raise_shared(40, false), None);
    let effect = gic.write(Frame::Banked(0), 0x828, 1, 0xF4);
    assert_eq!(effect.look, 1 << 2);
    assert_eq!(
        gic.read(Frame::Banked(1), 0x828, 4),
        0x04,
        "those there are"
    );
    assert_eq!(numbers(&gic.plan(2, 4)), [40]);
    assert!(gic.plan(0, 4).lists().is_empty());
}

#[test]
fn private_registers_are_banked_and_sgis_stay_enabled() {
    let mut gic = Gic::new(Version::V2, 2);
    let _ = gic.write(Frame::Banked(1), 0x180, 4, u64::from(u32::MAX));
    let _ = gic.write(Frame::Banked(1), 0x100, 4, 1 << UPCALL);
    assert_eq!(gic.read(Frame::Banked(1), 0x100, 4), 0x8000_FFFF);
    assert_eq!(gic.read(Frame::Banked(0), 0x100, 4), 0xFFFF);
    let _ = gic.write(Frame::Banked(1), 0x200, 4, u64::from(u32::MAX));
    assert_eq!(
        gic.read(Frame::Banked(1), 0x200, 4),
        0xFFFF_0000,
        "SGIs are sent, not set pending"
    );
    let _ = gic.write(Frame::Banked(0), 0x406, 2, 0x10A8);
    assert_eq!(gic.read(Frame::Banked(0), 0x404, 4), 0x10A8_0000);
    assert_eq!(gic.read(Frame::Banked(1), 0x404, 4), 0);
}

#[test]
fn only_words_and_single_priorities_targets_and_senders_can_be_accessed() {
    let mut gic = ready(2);
    for (offset, size) in [(0x104, 1), (0x104, 2), (0x104, 8), (0x105, 4), (0xC08, 1)] {
        let _ = gic.write(Frame::Banked(0), offset, size, 0xFF);
        assert_eq!(gic.read(Frame::Banked(0), offset, size), 0, "{offset:#x}");
    }
    assert_eq!(gic.read(Frame::Banked(0), 0x104, 4), 0);
    assert_eq!(gic.read(Frame::Banked(0), 4, 1), 0);
}

#[test]
fn sgis_are_filtered_and_know_their_sender() {
    let mut gic = ready(4);
    let mut send = |from, value| gic.write(Frame::Banked(from), 0xF00, 4, value).look;
    assert_eq!(send(0, sgir(0, 0b1010, 5)), 0b1010);
    assert_eq!(send(2, sgir(1, 0, 5)), 0b1011);
    assert_eq!(send(3, sgir(2, 0, 6)), 0b1000);
    assert_eq!(send(3, sgir(3, 0xFF, 7)), 0);
    assert_eq!(send(1, sgir(0, 0xF0, 7)), 0, "nobody there");
    // vCPU 1 has SGI 5 from vCPUs 0 and 2.
    assert_eq!(gic.read(Frame::Banked(1), 0xF25, 1), 0b101);
    assert_eq!(gic.read(Frame::Banked(1), 0xF14, 4), 0b101 << 8);
    assert_eq!(gic.read(Frame::Banked(3), 0x200, 4), 1 << 5 | 1 << 6);
}

#[test]
fn an_sgi_from_two_senders_is_taken_twice() {
    let mut gic = ready(4);
    let _ = gic.write(Frame::Banked(3), 0xF00, 4, sgir(0, 0b10, 5));
    let _ = gic.write(Frame::Banked(0), 0xF00, 4, sgir(0, 0b10, 5));
    let first = gic.plan(1, 4).lists()[0];
    assert_eq!((first.physical() & 7, first.pending()), (0, true));
    assert_ne!(first.physical() & NOTIFY_END, 0, "its end is wanted");
    // Acknowledged, and looked at meanwhile.
    let _ = gic.fold(1, first.with_pending(false).with_active(true));
    let first = gic.plan(1, 4).lists()[0];
    assert_eq!((first.physical() & 7, first.active()), (0, true));
    assert!(!first.pending(), "the other one waits");
    // Ended.
    let _ = gic.fold(1, first.with_active(false));
    let second = gic.plan(1, 4).lists()[0];
    assert_eq!((second.physical(), second.pending()), (3, true));
    let _ = gic.fold(1, second.with_pending(false));
    assert!(gic.plan(1, 4).lists().is_empty() && !gic.has_deliverable(1));
}

#[test]
fn a_pending_sgi_can_be_withdrawn_sender_by_sender() {
    let mut gic = ready(2);
    let effect = gic.write(Frame::Banked(1), 0xF29, 1, 0b11);
    assert_eq!(effect.look, 2);
    let _ = gic.write(Frame::Banked(1), 0xF19, 1, 0b01);
    assert_eq!(gic.read(Frame::Banked(1), 0xF29, 1), 0b10);
    assert!(gic.has_deliverable(1));
    let _ = gic.write(Frame::Banked(1), 0xF18, 4, 0xFF00);
    assert!(!gic.has_deliverable(1));
    assert_eq!(gic.read(Frame::Banked(1), 0x200, 4), 0);
}

#[test]
fn no_access_panics() {
    for vcpus in [1, 8] {
        let mut gic = ready(vcpus);
        for frame in [0, 7, 9, u32::MAX].map(Frame::Banked) {
            for offset in 0..0x1100 {
                for size in [1, 2, 4, 8] {
                    let _ = gic.read(frame, offset, size);
                    let _ = gic.write(frame, offset, size, u64::MAX);
                }
            }
        }
        for vcpu in 0..10 {
            let plan = gic.plan(vcpu, 4);
            plan.lists().iter().for_each(|list| {
                let _ = gic.fold(vcpu, *list);
            });
            let _ = gic.fold(vcpu, decode_list(u32::MAX));
        }
    }
}
