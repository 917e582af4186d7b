//! Claim: the domain's CPUs are switched on and off as they are told, interrupt each other without a loss, and see each other's
//! changes of translations.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod claims {
    use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use guests::cpus::{self, affinity_info, answer, switch_on};
    use guests::interrupts::{self, send_to, send_to_others};
    use guests::place::RAM_BASE;
    use guests::{mmu, say, taken, timer};

    /// Interrupts to and from each CPU.
    const ROUNDS: u32 = 200;
    /// Additions of each CPU.
    const ADDITIONS: u64 = 20_000;
    /// Longer than a busy machine takes, in seconds.
    const PATIENCE_S: u64 = 60;
    /// RAM that nothing uses: two blocks.
    const BLOCKS: [u64; 2] = [RAM_BASE + (4 << 20), RAM_BASE + (6 << 20)];

    /// CPUs that have come so far in their lives.
    static ARRIVED: AtomicU32 = AtomicU32::new(0);
    static SUM: AtomicU64 = AtomicU64::new(0);
    static STAGE: AtomicU32 = AtomicU32::new(0);
    static SEEN: AtomicU64 = AtomicU64::new(0);

    pub(super) fn hold() {
        let count = cpus::count();
        say!("  {count} CPUs");
        switching(count);
        if count > 1 {
            counting(count);
            interrupts(count);
            broadcast(count);
            translations();
        }
    }

    fn others(count: u32) -> core::ops::Range<u32> {
        1..count
    }

    fn wait_for(what: &str, holds: impl Fn() -> bool) {
        let end = timer::now() + PATIENCE_S * timer::frequency();
        while !holds() {
            assert!(timer::now() < end, "waited for {what} in vain");
            core::hint::spin_loop();
        }
    }

    fn all_off(count: u32) {
        for cpu in others(count) {
            wait_for("a CPU to be off", || affinity_info(cpu) == answer::OFF);
        }
    }

    /// Has all others do something, and waits until they are off again.
    fn everywhere(count: u32, body: fn(u32), meanwhile: impl FnOnce()) {
        ARRIVED.store(0, Ordering::SeqCst);
        for cpu in others(count) {
            assert_eq!(switch_on(cpu, body), answer::DONE, "CPU_ON of {cpu}");
        }
        meanwhile();
        all_off(count);
    }

    fn arrive() {
        ARRIVED.fetch_add(1, Ordering::SeqCst);
    }

    fn switching(count: u32) {
        let nobody = |_: u32| ();
        assert_eq!(cpus::this(), 0);
        assert_eq!(affinity_info(0), answer::DONE, "this one is on");
        assert_eq!(affinity_info(count), answer::INVALID_PARAMETERS);
        assert_eq!(affinity_info(0x100), answer::INVALID_PARAMETERS);
        assert_eq!(switch_on(0, nobody), answer::ALREADY_ON);
        assert_eq!(switch_on(count, nobody), answer::INVALID_PARAMETERS);
        for cpu in others(count) {
            assert_eq!(affinity_info(cpu), answer::OFF);
        }
        // Several lives.
        for _ in 0..3 {
            everywhere(count, |_| arrive(), || ());
            assert_eq!(ARRIVED.load(Ordering::SeqCst), count - 1);
        }
        everywhere(
            count,
            |_| wait_for("the end of the stage", || STAGE.load(Ordering::SeqCst) == 1),
            || {
                for cpu in others(count) {
                    assert_eq!(affinity_info(cpu), answer::DONE, "{cpu} is on");
                    assert_eq!(switch_on(cpu, nobody), answer::ALREADY_ON);
                }
                STAGE.store(1, Ordering::SeqCst);
            },
        );
        say!("  switched on and off");
    }

    fn add(_: u32) {
        for _ in 0..ADDITIONS {
            SUM.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counting(count: u32) {
        everywhere(count, add, || add(0));
        assert_eq!(SUM.load(Ordering::SeqCst), ADDITIONS * u64::from(count));
        say!("  counted together");
    }

    /// Sleeps until this CPU has taken so many interrupts.
    fn sleep_until(ipis: u32) {
        let cpu = cpus::this();
        interrupts::mask();
        while taken::ipis(cpu) < ipis {
            interrupts::wait();
            interrupts::unmask();
            interrupts::mask();
        }
    }

    fn answer_all(cpu: u32) {
        let before = taken::ipis(cpu);
        arrive();
        for round in 1..=ROUNDS {
            sleep_until(before + round);
            send_to(0, cpu % 16);
        }
    }

    fn interrupts(count: u32) {
        everywhere(count, answer_all, || {
            wait_for("all to listen", || {
                ARRIVED.load(Ordering::SeqCst) == count - 1
            });
            let before = taken::ipis(0);
            let mut answers = 0;
            for _ in 0..ROUNDS {
                for cpu in others(count) {
                    send_to(cpu, 3);
                    answers += 1;
                    sleep_until(before + answers);
                }
            }
        });
        say!("  interrupted each other");
    }

    fn listen(cpu: u32) {
        let before = taken::ipis(cpu);
        arrive();
        sleep_until(before + 1);
        arrive();
    }

    fn broadcast(count: u32) {
        everywhere(count, listen, || {
            let others = count - 1;
            wait_for("all to listen", || ARRIVED.load(Ordering::SeqCst) == others);
            send_to_others(5);
            wait_for("all to hear", || {
                ARRIVED.load(Ordering::SeqCst) == 2 * others
            });
        });
        say!("  heard a broadcast");
    }

    /// Tells what the window shows, twice.
    fn watch(_: u32) {
        // An interrupt may be what makes this CPU forget.
        interrupts::unmask();
        SEEN.store(mmu::window().load(Ordering::SeqCst), Ordering::SeqCst);
        STAGE.store(2, Ordering::SeqCst);
        wait_for("another view", || STAGE.load(Ordering::SeqCst) == 3);
        SEEN.store(mmu::window().load(Ordering::SeqCst), Ordering::SeqCst);
        STAGE.store(4, Ordering::SeqCst);
    }

    fn translations() {
        for (block, value) in BLOCKS.iter().zip([11, 22]) {
            mmu::word_at(*block).store(value, Ordering::SeqCst);
        }
        mmu::point_window_at(BLOCKS[0]);
        assert_eq!(switch_on(1, watch), answer::DONE);
        wait_for("the first view", || STAGE.load(Ordering::SeqCst) == 2);
        assert_eq!(SEEN.load(Ordering::SeqCst), 11);
        mmu::point_window_at(BLOCKS[1]);
        STAGE.store(3, Ordering::SeqCst);
        wait_for("the second view", || STAGE.load(Ordering::SeqCst) == 4);
        assert_eq!(SEEN.load(Ordering::SeqCst), 22, "an old translation");
        all_off(2);
        say!("  saw a changed translation");
    }
}

guests::guest!("cpus", || claims::hold());
