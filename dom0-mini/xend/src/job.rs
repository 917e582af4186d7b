//! Long operations: values that are advanced one bounded step at a time.
//!
//! A job belongs to one domain. A step does one hypercall or a few; what it made is in the domain at once, so a job can
//! be dropped between any two steps and the domain taken apart or resumed.

use crate::build::job::Build;
use crate::domain::Domain;
use crate::event::Now;
use crate::hypervisor::Hypervisor;
use crate::restore::Restore;
use crate::save::Save;
use crate::session::Sessions;
use crate::xenstore::Xenstore;
use alloc::boxed::Box;
use hv_abi::Errno;
use mgmt_proto::messages::Failure;

/// What a step may use.
pub(crate) struct Workshop<'a, H: Hypervisor> {
    pub(crate) hypervisor: &'a mut H,
    pub(crate) xenstore: &'a mut Xenstore,
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) now: Now,
}

/// A long operation on a domain. Taken out of its domain and put back for every step, so what is large is boxed.
pub(crate) enum Job<H: Hypervisor> {
    /// It is built.
    Build(Build),
    /// It is saved.
    Save(Box<Save<H::Frames>>),
    /// It is made from a snapshot.
    Restore(Box<Restore<H::Frames>>),
    /// It is taken apart.
    Destroy(Destroy),
}

/// What a step did.
pub(crate) enum Step {
    /// Something; there is more. So far, of how much, of what.
    More {
        done: u64,
        total: u64,
        what: &'static str,
    },
    /// Nothing more to do before a client goes on.
    Wait,
    /// The last one.
    Done(Done),
}

/// How a job ended.
pub(crate) enum Done {
    /// The domain is built or restored, and can start.
    Ready,
    /// It is saved to the store, and can go.
    Stored,
    /// It is gone.
    Gone,
}

impl<H: Hypervisor> Job<H> {
    /// Does the next thing for `domain`, whose job this is.
    pub(crate) fn step(
        &mut self,
        shop: &mut Workshop<'_, H>,
        domain: &mut Domain<H>,
    ) -> Result<Step, Failure> {
        match self {
            Self::Build(build) => build.step(shop, domain),
            Self::Save(save) => save.step(shop, domain),
            Self::Restore(restore) => restore.step(shop, domain),
            Self::Destroy(destroy) => Ok(destroy.step(shop.hypervisor, domain)),
        }
    }

    /// Whether a step would do something now.
    pub(crate) fn is_ready(&self, sessions: &Sessions) -> bool {
        match self {
            Self::Save(save) => save.is_ready(sessions),
            Self::Restore(restore) => restore.is_ready(),
            Self::Build(_) | Self::Destroy(_) => true,
        }
    }
}

/// How often the hypervisor may refuse before a domain is given up on.
const REFUSALS: u8 = 5;

/// A domain being taken apart.
#[derive(Debug, Default)]
pub(crate) struct Destroy {
    refusals: u8,
}

impl Destroy {
    fn step<H: Hypervisor>(&mut self, hypervisor: &mut H, domain: &mut Domain<H>) -> Step {
        let more = Step::More {
            done: 0,
            total: 0,
            what: "taking the domain apart",
        };
        let Some(domid) = domain.domid else {
            return Step::Done(Done::Gone);
        };
        match hypervisor.destroy(domid) {
            Ok(true) | Err(Errno::ESRCH) => {
                domain.domid = None;
                Step::Done(Done::Gone)
            }
            Ok(false) => more,
            Err(errno) => {
                self.refusals = self.refusals.saturating_add(1);
                log::error!("domain {} cannot be destroyed: {errno:?}", domid.0);
                if self.refusals < REFUSALS {
                    return more;
                }
                domain.domid = None;
                Step::Done(Done::Gone)
            }
        }
    }
}
