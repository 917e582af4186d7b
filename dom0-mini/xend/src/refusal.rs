//! Sentences for what was refused.

use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::lifecycle::State;
use alloc::format;
use hv_abi::Errno;
use mgmt_proto::messages::{ErrorCode, Failure};

/// What the hypervisor's refusal of a call means for who asked.
pub(crate) fn refused(what: &str, errno: Errno) -> Failure {
    match errno {
        Errno::ENOMEM => Failure::new(
            ErrorCode::NO_MEMORY,
            format!("the host has no memory left to {what}"),
        )
        .with_remedy("destroy a domain, or delete a snapshot"),
        Errno::ENOSPC => Failure::new(
            ErrorCode::NO_MEMORY,
            format!("the host has no place left to {what}"),
        )
        .with_remedy("destroy a domain"),
        errno => Failure::new(
            ErrorCode::INTERNAL,
            format!("the hypervisor refused to {what}: {errno:?}"),
        ),
    }
}

/// Why a domain with so much memory could not be made.
pub(crate) fn no_domain<H: Hypervisor>(
    hypervisor: &mut H,
    memory_kib: u64,
    errno: Errno,
) -> Failure {
    if errno != Errno::ENOMEM {
        return refused("make the domain", errno);
    }
    let free = hypervisor.host_info().map_or(0, |host| host.free_kib);
    let sentence = format!(
        "the domain needs {} MiB of memory and the tables for it; the host has {} MiB free",
        memory_kib / 1024,
        free / 1024
    );
    Failure::new(ErrorCode::NO_MEMORY, sentence)
        .with_remedy("ask for less memory, destroy a domain, or delete a snapshot")
}

/// The domain's state does not allow it, now or at all.
pub(crate) fn not_now<H: Hypervisor>(domain: &Domain<H>, code: ErrorCode) -> Failure {
    let sentence = format!("domain '{}' {}", domain.name, domain.doing());
    let failure = Failure::new(code, sentence);
    match domain.state {
        State::Dead => failure.with_remedy("destroy it and create it again"),
        State::Paused => failure.with_remedy("unpause it first"),
        State::Waiting => failure.with_remedy("wait for it, or destroy it"),
        State::Saving => failure.with_remedy("wait for the save to end, or end its client"),
        _ => failure.with_remedy("wait until that is done"),
    }
}
