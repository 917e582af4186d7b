//! The machine's power, by its firmware's PSCI.

use core::sync::atomic::{AtomicU8, Ordering};

/// How firmware is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Conduit {
    /// By `SMC`.
    Smc,
    /// By `HVC`: we are guests ourselves.
    Hvc,
}

const NONE: u8 = 0;
const SMC: u8 = 1;
const HVC: u8 = 2;
static CONDUIT: AtomicU8 = AtomicU8::new(NONE);

/// Sets how firmware is called.
pub(crate) fn use_conduit(conduit: Conduit) {
    let value = match conduit {
        Conduit::Smc => SMC,
        Conduit::Hvc => HVC,
    };
    CONDUIT.store(value, Ordering::Relaxed);
}

/// Starts the CPU with that affinity at an address with the MMU off; `argument` is in its x0. Returns whether firmware
/// agreed.
pub(crate) fn start_cpu(mpidr: u64, entry: u64, argument: u64) -> bool {
    #[cfg(target_arch = "aarch64")]
    return match CONDUIT.load(Ordering::Relaxed) {
        SMC => smccc::psci::cpu_on::<smccc::Smc>(mpidr, entry, argument).is_ok(),
        HVC => smccc::psci::cpu_on::<smccc::Hvc>(mpidr, entry, argument).is_ok(),
        _ => false,
    };
    #[cfg(not(target_arch = "aarch64"))]
    {
        let _ = (mpidr, entry, argument);
        false
    }
}

/// Restarts the machine, or stops if firmware cannot.
pub(crate) fn restart() -> ! {
    #[cfg(target_arch = "aarch64")]
    let _refused = match CONDUIT.load(Ordering::Relaxed) {
        SMC => smccc::psci::system_reset::<smccc::Smc>().err(),
        HVC => smccc::psci::system_reset::<smccc::Hvc>().err(),
        _ => None,
    };
    stop()
}

/// Switches the machine off, or stops if firmware cannot.
pub(crate) fn off() -> ! {
    #[cfg(target_arch = "aarch64")]
    let _refused = match CONDUIT.load(Ordering::Relaxed) {
        SMC => smccc::psci::system_off::<smccc::Smc>().err(),
        HVC => smccc::psci::system_off::<smccc::Hvc>().err(),
        _ => None,
    };
    stop()
}

fn stop() -> ! {
    loop {
        super::timer::wait_for_interrupt();
    }
}
