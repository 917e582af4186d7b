//! The rows.

use guests::timer::TICK;
use guests::{event, hypercall, interrupts, log, marks, taken, timer};
use hv_abi::CallNumber;
use hv_abi::xen::{sched, version};

use super::machine::machine_rows;

/// A timer interrupt that finds us running comes in 1/this of a second,
const SOON: u64 = 125_000;
/// and one that finds us asleep in 1/this.
const LATER: u64 = 10_000;

/// Measures and prints everything, once those who started us have had time to be done with it.
pub(crate) fn print_all() {
    timer::sleep_until(timer::now() + timer::frequency());
    marks::begin();
    let empty = Loop { per_mille: 0 };
    let baseline = Loop {
        per_mille: empty.ticks(10_000, || core::hint::black_box(())) * TICK / 10,
    };
    let call = |number, operation| core::hint::black_box(hypercall::raw(number, operation, 0, 0));
    baseline.row("null_hypercall", 2000, || {
        call(CallNumber::XEN_VERSION, version::VERSION);
    });
    baseline.row("yield", 1000, || {
        call(CallNumber::SCHED_OP, sched::YIELD);
    });
    machine_rows(&baseline);
    timer_row("vtimer_interrupt", SOON, || ());
    timer_row("vtimer_wfi_wake", LATER, interrupts::wait);
    event_rows(&baseline);
    marks::end();
    log!("BENCH-END");
}

pub(crate) struct Loop {
    /// Instructions that the loop takes in a thousand rounds.
    per_mille: u64,
}

impl Loop {
    fn ticks(&self, rounds: u64, mut body: impl FnMut()) -> u64 {
        let start = timer::now();
        for _ in 0..rounds {
            body();
        }
        timer::now() - start
    }

    pub(crate) fn row(&self, name: &str, rounds: u64, body: impl FnMut()) {
        let all = self.ticks(rounds, body) * TICK;
        let own = self.per_mille * rounds / 1000;
        print(name, rounds, all.saturating_sub(own));
    }
}

fn print(name: &str, rounds: u64, instructions: u64) {
    let (whole, tenth) = (instructions / rounds, instructions * 10 / rounds % 10);
    log!("BENCH {name} iters={rounds} insn/op={whole}.{tenth}");
}

/// From the moment the timer fires to our handler.
fn timer_row(name: &str, part: u64, sleep: impl Fn()) {
    const ROUNDS: u64 = 200;
    let distance = timer::frequency() / part;
    let mut late = 0;
    for _ in 0..ROUNDS {
        let before = taken::timer();
        interrupts::mask();
        let deadline = timer::now() + distance;
        timer::set(deadline);
        while taken::timer() == before {
            sleep();
            interrupts::unmask();
            interrupts::mask();
        }
        late += taken::arrived().saturating_sub(deadline);
    }
    print(name, ROUNDS, late * TICK);
}

/// An event to ourselves: marked only, and taken by its upcall, acknowledged and ended.
fn event_rows(baseline: &Loop) {
    event::init();
    let port = event::to_self();
    event::unmask(port);
    interrupts::mask();
    baseline.row("evtchn_send_masked", 1000, || {
        event::send(port);
        event::take();
    });
    interrupts::unmask();
    // What the masked sends left pending goes first.
    event::send(port);
    let before = taken::events();
    baseline.row("evtchn_send_upcall", 1000, || event::send(port));
    let taken = taken::events() - before;
    interrupts::mask();
    assert_eq!(taken, 1000, "every event comes with its upcall");
}
