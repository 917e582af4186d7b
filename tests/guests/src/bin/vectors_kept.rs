//! Claim: x87, SSE, AVX and what else CPUID shows are a vCPU's own. They begin in their initial state, and a pattern in them
//! stays through exits, sleeps and other domains' turns: `pattern=` says which, `rounds=` for how long.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod vectors {
    use guests::extended::{self, Area};
    use guests::hostile::cpuid;
    use guests::hypercall::call;
    use guests::{options, say, timer};
    use hv_abi::CallNumber;
    use hv_abi::xen::sched;

    /// x87, SSE.
    const LEAST: u64 = 3;
    /// Sleeping and spinning take 1/this of a second each.
    const PART: u64 = 100;

    static EXPECTED: Area = Area::new();
    static FOUND: Area = Area::new();

    pub(super) fn kept() {
        let pattern = options::option("pattern=").unwrap_or(1);
        let rounds = options::option("rounds=").unwrap_or(100);
        let components = extended::shown();
        assert_eq!(components & LEAST, LEAST, "CPUID shows {components:#x}");
        extended::enable(components);
        EXPECTED.make_initial();
        check("at first", components);
        EXPECTED.fill(components, pattern);
        EXPECTED.load(components);
        check("just loaded", components);
        say!("filled {components:#x}");
        for round in 0..rounds {
            disturb(round);
            check("later", components);
        }
    }

    fn check(when: &str, components: u64) {
        let enabled = extended::enabled();
        assert_eq!(enabled, components, "XCR0 {when}");
        FOUND.save(components);
        if let Some((offset, expected, found)) = EXPECTED.difference(&FOUND, components) {
            panic!("{when}, {found:#x} at {offset} is not {expected:#x}");
        }
    }

    /// Whatever gives others a turn.
    fn disturb(round: u64) {
        let part = timer::frequency() / PART;
        match round % 4 {
            0 => timer::sleep_until(timer::now() + part),
            1 => {
                let yielded = call(CallNumber::SCHED_OP, sched::YIELD, 0, 0);
                assert_eq!(yielded, Ok(0), "SCHEDOP_yield");
            }
            2 => drop(cpuid(0, 0)),
            _ => {
                let end = timer::now() + part;
                while timer::now() < end {
                    core::hint::spin_loop();
                }
            }
        }
    }
}

guests::guest!("x86_64", "vectors_kept", || vectors::kept());
