//! The lock of the hypervisor: first come, first served, spinning.
//!
//! The order in which locks are taken is in docs/architecture.md. Who waits gives way at every look: where CPUs share
//! something (a core's threads, an emulator's one thread), the holder then goes on at once instead of much later.

use spin::Once;
use spin::mutex::ticket;
use spin::relax::RelaxStrategy;

/// A lock.
pub type Lock<T> = ticket::TicketMutex<T, GiveWay>;
/// A lock that is held.
pub type Guard<'a, T> = ticket::TicketMutexGuard<'a, T, GiveWay>;

/// What a CPU does that waits for a lock.
#[derive(Debug)]
pub struct GiveWay;

static HOW: Once<fn()> = Once::new();

/// Sets how this machine's CPUs give way to each other.
pub fn give_way_by(how: fn()) {
    HOW.call_once(|| how);
}

/// Lets others go on for a moment.
pub fn give_way() {
    match HOW.get() {
        Some(give_way) => give_way(),
        None => core::hint::spin_loop(),
    }
}

impl RelaxStrategy for GiveWay {
    // Out of the way of who gets the lock at once.
    #[cold]
    #[inline(never)]
    fn relax() {
        give_way();
    }
}
