//! Claim: the second CPU is started, stopped and started again by Xen's calls, and gets its events by a vector of its own.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod claims {
    use core::sync::atomic::{AtomicU32, Ordering};

    use guests::cpus::{self, initialise, is_up};
    use guests::hypercall::{call, call_with};
    use guests::interrupts::{self, OWN_EVENTS};
    use guests::{event, taken, timer};
    use hv_abi::xen::hvm::{self, UpcallVector};
    use hv_abi::xen::{sched, vcpu};
    use hv_abi::{CallNumber, Errno};

    const OTHER: u32 = 1;
    /// Events to the other CPU, each answered.
    const ROUNDS: u32 = 200;
    /// Longer than a busy machine takes, in seconds.
    const PATIENCE_S: u64 = 60;
    /// How long nothing happens where nothing may: 1/this of a second.
    const QUIET: u64 = 20;

    /// The port that the other CPU answers at.
    static ANSWERS: AtomicU32 = AtomicU32::new(0);
    /// What the other CPU is at.
    static STAGE: AtomicU32 = AtomicU32::new(0);
    const RUNS: u32 = 1;
    const TO_STOP_ITSELF: u32 = 2;
    const WENT_ON: u32 = 3;

    pub(super) fn hold() {
        assert_eq!(cpus::count(), 2, "CPUs");
        event::init();
        start();
        let port = give_vector();
        for round in 1..=ROUNDS {
            event::send(port);
            answers(round);
        }
        assert_eq!(interrupts::own_events(0), 0, "events gone astray");
        stop_and_go_on(port);
        stop_itself(port);
        assert_eq!(operate(vcpu::DOWN), Ok(0), "VCPUOP_down at last");
    }

    fn operate(operation: u64) -> Result<u64, Errno> {
        call(CallNumber::VCPU_OP, operation, OTHER.into(), 0)
    }

    fn start() {
        const NO_MODE: u32 = 7;
        assert_eq!(
            operate(vcpu::UP),
            Err(Errno::EINVAL),
            "up without registers"
        );
        let answer = initialise(OTHER, NO_MODE, other);
        assert_eq!(answer, Err(Errno::EINVAL), "registers of no mode");
        assert_eq!(initialise(OTHER, vcpu::MODE_64, other), Ok(0), "registers");
        let again = initialise(OTHER, vcpu::MODE_64, other);
        assert_eq!(again, Err(Errno::EEXIST), "registers once more");
        assert!(!is_up(OTHER), "up before it was told to be");
        assert_eq!(operate(vcpu::UP), Ok(0), "VCPUOP_up");
        wait_for("the other CPU", || STAGE.load(Ordering::SeqCst) == RUNS);
        assert!(is_up(OTHER), "runs and is not up");
    }

    /// A port to the other CPU, and one back.
    fn give_vector() -> u32 {
        let back = event::to_cpu(0);
        let port = event::to_cpu(OTHER);
        ANSWERS.store(back, Ordering::SeqCst);
        assert_eq!(set_vector(1), Err(Errno::EINVAL), "an exception's vector");
        assert_eq!(set_vector(OWN_EVENTS), Ok(0), "a vector");
        event::let_upcalls_through(OTHER);
        event::unmask(back);
        event::unmask(port);
        interrupts::unmask();
        port
    }

    fn set_vector(vector: u8) -> Result<u64, Errno> {
        let mut argument = UpcallVector {
            vcpu: OTHER,
            vector,
            reserved: [0; 3],
        };
        let operation = hvm::SET_EVTCHN_UPCALL_VECTOR;
        call_with(CallNumber::HVM_OP, operation, &mut argument)
    }

    /// What comes while it is stopped waits until it goes on.
    fn stop_and_go_on(port: u32) {
        assert_eq!(operate(vcpu::DOWN), Ok(0), "VCPUOP_down");
        wait_for("the other CPU to be down", || !is_up(OTHER));
        stays_silent(port);
        assert_eq!(operate(vcpu::UP), Ok(0), "VCPUOP_up again");
        answers(ROUNDS + 1);
    }

    /// It stops itself, and goes on behind the call.
    fn stop_itself(port: u32) {
        STAGE.store(TO_STOP_ITSELF, Ordering::SeqCst);
        event::send(port);
        answers(ROUNDS + 2);
        wait_for("the other CPU to stop itself", || !is_up(OTHER));
        stays_silent(port);
        assert_eq!(STAGE.load(Ordering::SeqCst), TO_STOP_ITSELF, "stopped");
        assert_eq!(operate(vcpu::UP), Ok(0), "VCPUOP_up the third time");
        answers(ROUNDS + 3);
        assert_eq!(STAGE.load(Ordering::SeqCst), WENT_ON, "went on");
    }

    fn stays_silent(port: u32) {
        let before = interrupts::own_events(OTHER);
        event::send(port);
        let end = timer::now() + timer::frequency() / QUIET;
        while timer::now() < end {
            core::hint::spin_loop();
        }
        assert_eq!(interrupts::own_events(OTHER), before, "an event while down");
    }

    /// The other CPU takes this many events in all, and answers each.
    fn answers(count: u32) {
        wait_for("the other CPU's answer", || taken::events() >= count);
        assert_eq!(interrupts::own_events(OTHER), count, "events of the other");
        assert_eq!(taken::events(), count, "events of the first");
    }

    fn other(cpu: u32) {
        STAGE.store(RUNS, Ordering::SeqCst);
        let mut answered = 0;
        loop {
            while interrupts::own_events(cpu) == answered {
                interrupts::wait();
            }
            answered += 1;
            event::send(ANSWERS.load(Ordering::SeqCst));
            if STAGE.load(Ordering::SeqCst) == TO_STOP_ITSELF {
                let answer = operate(vcpu::DOWN);
                assert_eq!(answer, Ok(0), "VCPUOP_down of oneself");
                STAGE.store(WENT_ON, Ordering::SeqCst);
            }
        }
    }

    fn wait_for(what: &str, holds: impl Fn() -> bool) {
        let end = timer::now() + PATIENCE_S * timer::frequency();
        while !holds() {
            assert!(timer::now() < end, "waited for {what} in vain");
            let yielded = call(CallNumber::SCHED_OP, sched::YIELD, 0, 0);
            assert_eq!(yielded, Ok(0), "SCHEDOP_yield");
        }
    }
}

guests::guest!("x86_64", "cpus_by_calls", || claims::hold());
