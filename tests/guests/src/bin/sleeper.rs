//! Claim: who sleeps is woken. Sleeps for times of any length, by its timer's interrupt and by a poll that times out, for
//! as many seconds of its time as `seconds=` says; a wake-up that is lost is one that never comes. With `strict=1` none may
//! be late either.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod sleep {
    use guests::hostile::Random;
    use guests::hypercall::call_with;
    use guests::{event, log, options, timer};
    use hv_abi::CallNumber;
    use hv_abi::xen::sched;

    /// The longest sleep is 1/this of a second.
    const LONGEST: u64 = 50;
    /// How late is late: 1/this of a second.
    const LATE: u64 = 100;

    pub(super) fn well() {
        let seconds = options::option("seconds=").unwrap_or(1);
        let is_strict = options::option("strict=") == Some(1);
        let frequency = timer::frequency();
        let mut random = Random::of_this_guest();
        event::init();
        // Nobody sends to it.
        let port = event::to_self();
        let end = timer::now() + seconds * frequency;
        let (mut count, mut late) = (0_u64, 0_u64);
        while timer::now() < end {
            // As many short sleeps as long ones: from a few instructions up.
            let longest = frequency / LONGEST;
            let deadline = timer::now() + (random.below(longest) >> random.below(16));
            if random.below(4) == 0 {
                poll_until(port, deadline);
            } else {
                timer::sleep_until(deadline);
            }
            let now = timer::now();
            if now < deadline {
                return log!("\nFAIL sleeper: woken {} ticks early", deadline - now);
            }
            count += 1;
            if now - deadline > frequency / LATE {
                late += 1;
                if is_strict {
                    return log!("\nFAIL sleeper: woken {} ticks late", now - deadline);
                }
            }
        }
        log!("\nok sleeper: {count} sleeps, {late} of them late");
    }

    fn poll_until(port: u32, deadline: u64) {
        let mut poll = sched::Poll {
            ports: core::ptr::from_ref(&port) as u64,
            count: 1,
            reserved: 0,
            timeout: timer::system_time_ns(deadline) + 1,
        };
        let answer = call_with(CallNumber::SCHED_OP, sched::POLL, &mut poll);
        assert!(answer.is_ok(), "SCHEDOP_poll answered {answer:?}");
    }
}

guests::guest!("sleeper", || sleep::well());
