//! How many instructions an interrupt to another CPU and one back take, with both CPUs asleep in between: on one CPU of the
//! machine, with a switch to the other each time. Reports like `bench`.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("bench_ipi", || {
    use core::sync::atomic::{AtomicBool, Ordering};

    use guests::cpus::{self, answer};
    use guests::interrupts::{self, send_to};
    use guests::timer::TICK;
    use guests::{hypercall, log, taken, timer};
    use hv_abi::CallNumber;
    use hv_abi::xen::sched;

    const ROUNDS: u32 = 2000;

    /// The other CPU can take interrupts.
    static IS_READY: AtomicBool = AtomicBool::new(false);

    fn sleep_until(cpu: u32, ipis: u32) {
        while taken::ipis(cpu) < ipis {
            interrupts::wait();
            interrupts::unmask();
            interrupts::mask();
        }
    }

    fn answer_all(cpu: u32) {
        interrupts::mask();
        IS_READY.store(true, Ordering::SeqCst);
        for round in 1..=ROUNDS + 1 {
            sleep_until(cpu, round);
            send_to(0, 0);
        }
    }

    fn ping(round: u32) {
        send_to(1, 0);
        sleep_until(0, round);
    }

    interrupts::mask();
    assert_eq!(cpus::switch_on(1, answer_all), answer::DONE);
    while !IS_READY.load(Ordering::SeqCst) {
        let _ = hypercall::raw(CallNumber::SCHED_OP, sched::YIELD, 0, 0);
    }
    timer::sleep_until(timer::now() + timer::frequency());
    ping(1);
    let start = timer::now();
    (2..=ROUNDS + 1).for_each(ping);
    let instructions = (timer::now() - start) * TICK;
    let rounds = u64::from(ROUNDS);
    let (whole, tenth) = (instructions / rounds, instructions * 10 / rounds % 10);
    log!("BENCH ipi_ping_pong iters={ROUNDS} insn/op={whole}.{tenth}");
    log!("BENCH-END");
});
