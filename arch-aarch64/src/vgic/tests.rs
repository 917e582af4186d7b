use super::list::{ListRegister, ListRegisters};
use super::*;
use hv_abi::record::arm::InterruptBank;
use zerocopy::{FromBytes, IntoBytes};

const GICD_CTLR: u32 = 0;
const SGI_FRAME: u32 = 0x1_0000;

fn gic(vcpus: u32) -> Vgic {
    let gic = Vgic::new(Layout::guest(vcpus)).expect("a size that exists");
    write(&gic, Register::Distributor(GICD_CTLR), 0b10);
    gic
}

fn write(gic: &Vgic, register: Register, value: u64) -> Effect {
    gic.write(0, register, 4, value, &mut ListRegisters::new(4))
}

fn read(gic: &Vgic, register: Register) -> u64 {
    gic.read(0, register, 4, &mut ListRegisters::new(4))
}

/// Group 1, enabled, priority 0xA0.
fn open_private(gic: &Vgic, vcpu: u32, intid: u32) {
    write(
        gic,
        Register::Redistributor(vcpu, SGI_FRAME + 0x80),
        u64::from(u32::MAX),
    );
    write(
        gic,
        Register::Redistributor(vcpu, SGI_FRAME + 0x100),
        1 << intid,
    );
    gic.write(
        0,
        Register::Redistributor(vcpu, SGI_FRAME + 0x400 + intid),
        1,
        0xA0,
        &mut ListRegisters::new(4),
    );
}

fn open_shared(gic: &Vgic, intid: u32, priority: u64) {
    write(
        gic,
        Register::Distributor(0x80 + intid / 32 * 4),
        u64::from(u32::MAX),
    );
    write(
        gic,
        Register::Distributor(0x100 + intid / 32 * 4),
        1 << (intid % 32),
    );
    gic.write(
        0,
        Register::Distributor(0x400 + intid),
        1,
        priority,
        &mut ListRegisters::new(4),
    );
}

fn held(lists: &ListRegisters) -> Vec<u32> {
    lists
        .words()
        .iter()
        .map(|word| ListRegister::from_bits(*word).intid())
        .collect()
}

#[test]
fn addresses_find_their_register() {
    let gic = gic(2);
    assert_eq!(gic.register(GICD_BASE + 4), Some(Register::Distributor(4)));
    assert_eq!(
        gic.register(GICR_BASE + GICR_STRIDE + 8),
        Some(Register::Redistributor(1, 8))
    );
    assert_eq!(gic.register(GICR_BASE + 2 * GICR_STRIDE), None);
    assert_eq!(gic.register(0x0900_0000), None);
}

#[test]
fn identification_says_gicv3_with_one_security_state() {
    let gic = gic(2);
    assert_eq!(read(&gic, Register::Distributor(0xFFE8)) >> 4, 3);
    assert_eq!(read(&gic, Register::Distributor(GICD_CTLR)) & 0x50, 0x50);
    assert_eq!(read(&gic, Register::Distributor(4)) & 0x1F, 8, "288 INTIDs");
    let last = gic.read(
        0,
        Register::Redistributor(1, 8),
        8,
        &mut ListRegisters::new(4),
    );
    assert_eq!(last, (1 << 32) | (1 << 8) | (1 << 4));
}

#[test]
fn an_upcall_reaches_a_list_register_once() {
    let gic = gic(1);
    open_private(&gic, 0, 31);
    assert_eq!(gic.raise_private(0, 31, false), Some(0));
    assert!(gic.has_interrupt(0) && gic.take_stale(0));
    let mut lists = ListRegisters::new(4);
    gic.refill(0, &mut lists);
    assert_eq!(held(&lists), [31]);
    // The guest takes and ends it: the list register reads back empty.
    lists.words_mut()[0] = 31;
    gic.refill(0, &mut lists);
    assert!(held(&lists).is_empty() && !gic.has_interrupt(0));
}

#[test]
fn pending_again_while_active_is_not_lost() {
    let gic = gic(1);
    open_private(&gic, 0, 31);
    gic.raise_private(0, 31, false);
    let mut lists = ListRegisters::new(4);
    gic.refill(0, &mut lists);
    let word = ListRegister::from_bits(lists.words()[0])
        .with_pending(false)
        .with_active(true);
    lists.words_mut()[0] = word.into_bits();
    gic.raise_private(0, 31, false);
    gic.refill(0, &mut lists);
    let word = ListRegister::from_bits(lists.words()[0]);
    assert!(word.pending() && word.active());
}

#[test]
fn the_highest_priorities_fit_and_the_rest_overflows() {
    let gic = gic(1);
    for (intid, priority) in [(40, 0xA0), (41, 0x80), (42, 0x90)] {
        open_shared(&gic, intid, priority);
        assert_eq!(gic.raise_shared(intid, false), Some(0));
    }
    let mut lists = ListRegisters::new(2);
    gic.refill(0, &mut lists);
    assert_eq!(held(&lists), [41, 42]);
    assert!(lists.overflowed());
    lists.words_mut().fill(0);
    gic.refill(0, &mut lists);
    assert_eq!(held(&lists), [40]);
    assert!(!lists.overflowed());
}

#[test]
fn a_linked_interrupt_carries_its_machine_number() {
    let gic = gic(1);
    open_private(&gic, 0, 27);
    gic.raise_private(0, 27, true);
    let mut lists = ListRegisters::new(4);
    gic.refill(0, &mut lists);
    let word = ListRegister::from_bits(lists.words()[0]);
    assert!(word.hardware() && word.physical() == 27);
}

#[test]
fn routes_decide_who_takes_a_shared_interrupt() {
    let gic = gic(2);
    open_shared(&gic, 50, 0xA0);
    gic.write(
        0,
        Register::Distributor(0x6000 + 8 * 50),
        8,
        1,
        &mut ListRegisters::new(4),
    );
    assert_eq!(gic.raise_shared(50, false), Some(1));
    assert!(!gic.has_interrupt(0) && gic.has_interrupt(1));
    gic.write(
        0,
        Register::Distributor(0x6000 + 8 * 50),
        8,
        7,
        &mut ListRegisters::new(4),
    );
    assert!(!gic.has_interrupt(1), "a route to nobody");
}

#[test]
fn an_sgi_reaches_its_targets() {
    let gic = gic(4);
    (0..4).for_each(|vcpu| open_private(&gic, vcpu, 3));
    assert_eq!(gic.send_sgi(0, (3 << 24) | 0b1010), 0b1010);
    assert_eq!(
        gic.send_sgi(2, (1 << 40) | (3 << 24)),
        0b1011,
        "all but the sender"
    );
    assert!(gic.has_interrupt(1) && gic.has_interrupt(3));
}

#[test]
fn enabling_an_spi_reaches_the_machine_only_where_it_is_the_machines() {
    let register = Register::Distributor(0x104);
    assert_eq!(write(&gic(1), register, 1).machine, None);
    let hardware = Vgic::new(Layout {
        hardware: true,
        ..Layout::guest(1)
    })
    .expect("one vCPU");
    let change = write(&hardware, register, 1).machine;
    assert_eq!(
        change,
        Some(MachineChange::Enable {
            first: 32,
            mask: 1,
            enabled: true
        })
    );
}

#[test]
fn configuration_and_priorities_read_back() {
    let gic = gic(1);
    write(&gic, Register::Distributor(0xC08), 0xAAAA_0000);
    assert_eq!(read(&gic, Register::Distributor(0xC08)), 0xAAAA_0000);
    write(&gic, Register::Distributor(0x420), 0xFFA0_8047);
    assert_eq!(read(&gic, Register::Distributor(0x420)), 0xF8A0_8040);
    write(&gic, Register::Redistributor(0, SGI_FRAME + 0xC00), 0);
    assert_eq!(
        read(&gic, Register::Redistributor(0, SGI_FRAME + 0xC00)),
        0xAAAA_AAAA,
        "SGIs stay edge-triggered"
    );
}

#[test]
fn no_access_of_any_size_anywhere_panics() {
    let gic = gic(2);
    let mut lists = ListRegisters::new(4);
    for offset in (0..0x2_0000_u32).step_by(3) {
        for size in [1, 2, 4, 8] {
            for register in [
                Register::Distributor(offset & 0xFFFF),
                Register::Redistributor(1, offset),
            ] {
                gic.write(0, register, size, u64::MAX, &mut lists);
                let _ = gic.read(0, register, size, &mut lists);
                gic.refill(0, &mut lists);
            }
        }
    }
}

#[test]
fn saved_state_comes_back_and_no_flipped_bit_panics() {
    let gic = gic(2);
    open_shared(&gic, 60, 0x40);
    gic.raise_shared(60, false);
    let record = gic.with_state(|state| record::save_distributor(state));
    let other = Vgic::new(Layout::guest(2)).expect("two vCPUs");
    other
        .with_state(|state| record::load_distributor(&record, state))
        .expect("our own record");
    assert!(other.has_interrupt(0));

    let bank = gic.with_state(|state| record::save_bank(&state.shared[0]));
    for position in 0..size_of::<InterruptBank>() * 8 {
        let mut bytes = bank.as_bytes().to_vec();
        bytes[position / 8] ^= 1 << (position % 8);
        let flipped = InterruptBank::read_from_bytes(&bytes).expect("the size of a bank");
        if let Ok(loaded) = record::load_bank(&flipped, 0) {
            assert_eq!(record::save_bank(&loaded), flipped);
        }
    }
}
