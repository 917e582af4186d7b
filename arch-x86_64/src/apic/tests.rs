use super::*;

const NOW: Now = Now {
    tsc: 1_000_000,
    tsc_hz: 1_000_000_000,
};

fn enabled(id: u32) -> Apic {
    let mut apic = Apic::new(id);
    assert_eq!(apic.write(register::SVR, 0x1FF, NOW), Ok(Effect::Look));
    apic
}

#[test]
fn requests_are_taken_by_priority_and_ended_in_order() {
    let mut apic = enabled(0);
    assert!(apic.takes(0x31));
    apic.begin(0x31);
    assert!(!apic.takes(0x3F), "the same class waits");
    assert!(apic.takes(0x41));
    apic.begin(0x41);
    assert_eq!(apic.read(register::PPR, &Vectors::default(), NOW), Ok(0x40));
    assert_eq!(apic.write(register::EOI, 0, NOW), Ok(Effect::Look));
    assert!(apic.takes(0x41) && !apic.takes(0x31));
    assert_eq!(apic.write(register::EOI, 0, NOW), Ok(Effect::Look));
    assert!(apic.takes(0x31));
    assert_eq!(apic.write(register::TPR, 0x50, NOW), Ok(Effect::Look));
    assert!(!apic.takes(0x5F) && apic.takes(0x60));
    assert_eq!(apic.write(register::SVR, 0xFF, NOW), Ok(Effect::Look));
    assert!(!apic.takes(0xF0), "it is off");
}

#[test]
fn timer_modes() {
    let mut apic = enabled(0);
    // 100 MHz by 16 at a TSC of 1 GHz: 160 ticks each.
    assert_eq!(apic.write(register::DIVIDE, 3, NOW), Ok(Effect::Nothing));
    assert_eq!(
        apic.write(register::LVT_TIMER, 0x40, NOW),
        Ok(Effect::Timer)
    );
    assert_eq!(
        apic.write(register::INITIAL_COUNT, 1000, NOW),
        Ok(Effect::Timer)
    );
    assert_eq!(apic.deadline(), Some(1_160_000));
    let later = |tsc| Now { tsc, ..NOW };
    let count =
        |apic: &Apic, tsc| apic.read(register::CURRENT_COUNT, &Vectors::default(), later(tsc));
    assert_eq!(count(&apic, 1_080_000), Ok(500));
    assert_eq!(apic.expire(later(1_159_999)), None);
    assert_eq!(apic.expire(later(1_160_000)), Some(0x40));
    assert_eq!((apic.deadline(), count(&apic, 1_170_000)), (None, Ok(0)));

    assert_eq!(
        apic.write(register::LVT_TIMER, 0x2_0041, NOW),
        Ok(Effect::Timer)
    );
    assert_eq!(
        apic.write(register::INITIAL_COUNT, 1000, NOW),
        Ok(Effect::Timer)
    );
    assert_eq!(apic.expire(later(1_480_001)), Some(0x41));
    assert_eq!(apic.deadline(), Some(1_640_000), "lost periods are lost");

    assert_eq!(
        apic.write(register::LVT_TIMER, 0x4_0042, NOW),
        Ok(Effect::Timer)
    );
    assert_eq!(apic.deadline(), None);
    assert_eq!(apic.set_tsc_deadline(2_000_000), Effect::Timer);
    assert_eq!(apic.tsc_deadline(), 2_000_000);
    assert_eq!(apic.expire(later(2_000_000)), Some(0x42));
    assert_eq!(apic.tsc_deadline(), 0);
}

#[test]
fn commands_are_decoded() {
    let mut apic = enabled(1);
    let send = |apic: &mut Apic, value| apic.write(register::ICR, value, NOW);
    let ipi = |kind, to| Ok(Effect::Send(Ipi { kind, to }));
    assert_eq!(
        send(&mut apic, 3 << 32 | 0x45),
        ipi(IpiKind::Fixed(0x45), Destination::Physical(3))
    );
    assert_eq!(
        send(&mut apic, 0xC4500),
        ipi(IpiKind::Init, Destination::Others)
    );
    assert_eq!(
        send(&mut apic, 2 << 32 | 0x4608),
        ipi(IpiKind::Startup(8), Destination::Physical(2))
    );
    assert_eq!(
        send(&mut apic, 0x1_0002 << 32 | 0x840),
        ipi(IpiKind::Fixed(0x40), Destination::Logical(0x1_0002))
    );
    assert_eq!(send(&mut apic, 5), Ok(Effect::Nothing), "no such interrupt");
    assert_eq!(apic.write(register::ESR, 0, NOW), Ok(Effect::Nothing));
    assert_eq!(apic.read(register::ESR, &Vectors::default(), NOW), Ok(0x20));
    assert_eq!(send(&mut apic, 1 << 20), Err(Illegal));
}

#[test]
fn destinations() {
    assert!(Apic::is_addressed(17, 0, Destination::Logical(0x1_0002)));
    assert!(!Apic::is_addressed(1, 0, Destination::Logical(0x1_0002)));
    assert!(Apic::is_addressed(1, 1, Destination::Itself));
    assert!(!Apic::is_addressed(1, 1, Destination::Others));
    assert!(Apic::is_addressed(5, 1, Destination::Physical(u32::MAX)));
}

#[test]
fn registers_that_are_not_there_fault() {
    let mut apic = enabled(0);
    for number in 0..0x100 {
        let written = apic.write(number, u64::MAX, NOW);
        assert_eq!(written, Err(Illegal), "{number:#x}");
        let read = apic.read(number, &Vectors::default(), NOW);
        assert_eq!(
            read.is_err(),
            matches!(number, 0..=1 | 4..=7 | 9 | 0xB | 0xC | 0xE | 0x29..=0x2E | 0x31 | 0x3A..=0x3D | 0x3F..),
            "{number:#x}"
        );
    }
}

#[test]
fn modes_of_the_base_register() {
    let mut apic = Apic::new(1);
    let base = apic.base;
    assert_eq!(base, 0xFEE0_0C00);
    assert_eq!(apic.set_base(base & !base::X2APIC), Err(Illegal));
    assert_eq!(apic.set_base(base | 0x1000), Err(Illegal));
    assert_eq!(apic.set_base(base & !0xC00), Ok(()));
    assert_eq!(apic.set_base(base), Err(Illegal), "not at once");
    assert_eq!(apic.set_base(base & !base::X2APIC), Ok(()));
    assert!(!apic.is_x2apic());
    assert_eq!(apic.set_base(base), Ok(()));
}

#[test]
fn a_record_is_what_it_was_or_refused() {
    let mut apic = enabled(2);
    apic.begin(0x55);
    let _effect = apic.write(register::LVT_TIMER, 0x4_0042, NOW);
    let _effect = apic.set_tsc_deadline(77);
    let record = apic.save();
    assert_eq!(Apic::restore(2, &record), Ok(apic));
    let refused = |change: fn(&mut Record)| {
        let mut damaged = record;
        change(&mut damaged);
        Apic::restore(2, &damaged).is_err()
    };
    assert!(refused(|record| record.base |= 1 << 8));
    assert!(refused(|record| record.base ^= 0x1000));
    assert!(refused(|record| record.tpr = 0x100));
    assert!(refused(|record| record.isr[0] = 1));
    assert!(refused(|record| record.lvt[1] |= 1 << 31));
    assert!(refused(|record| record.divide = 4));
}

#[test]
fn a_timer_without_an_interrupts_vector_requests_nothing() {
    for (vector, requested) in [(0, None), (15, None), (16, Some(16))] {
        let mut apic = enabled(0);
        assert!(apic.write(register::LVT_TIMER, vector, NOW).is_ok());
        assert!(apic.write(register::INITIAL_COUNT, 1, NOW).is_ok());
        let later = Now {
            tsc: 2_000_000,
            ..NOW
        };
        assert_eq!(apic.expire(later), requested);
    }
}
