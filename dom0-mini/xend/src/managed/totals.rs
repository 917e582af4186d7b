//! What a managed domain's runs used.

use hv_abi::control::domain::{DomainInfo, ShutdownReason, state};
use mgmt_proto::messages::Totals;

/// The run of a domain that ends now; none if it never ran.
pub(crate) fn of_run(info: &DomainInfo, now_ns: u64) -> Option<Totals> {
    let usage = &info.usage;
    let crashed = info.state & state::SHUTDOWN != 0
        && matches!(
            info.shutdown_reason,
            ShutdownReason::CRASH | ShutdownReason::WATCHDOG
        );
    (usage.runs > 0).then(|| Totals {
        runs: 1,
        crashes: crashed.into(),
        up_ns: now_ns.saturating_sub(info.created_ns),
        cpu_ns: usage.cpu_ns,
        exits: usage.exits.total(),
        interrupts: usage.interrupts,
        events: usage.events,
    })
}

/// Adds one to another.
pub(crate) fn add(all: &mut Totals, more: &Totals) {
    let sum = |all: &mut u64, more: u64| *all = all.saturating_add(more);
    sum(&mut all.runs, more.runs);
    sum(&mut all.crashes, more.crashes);
    sum(&mut all.up_ns, more.up_ns);
    sum(&mut all.cpu_ns, more.cpu_ns);
    sum(&mut all.exits, more.exits);
    sum(&mut all.interrupts, more.interrupts);
    sum(&mut all.events, more.events);
}
