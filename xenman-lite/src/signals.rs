// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals that ask to end, noted instead of died of.

use crate::problem::Problem;
use signal_hook::{SigId, low_level::unregister};
use std::{
    ffi::c_int,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// How often a noted signal is looked for.
pub(crate) const LOOK: Duration = Duration::from_millis(100);

/// Whether one of the signals came. When the last copy is dropped nobody notes them any more.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<Watch>);

#[derive(Default)]
struct Watch {
    came: Arc<AtomicBool>,
    which: Arc<AtomicUsize>,
    registered: Vec<SigId>,
}

impl Asked {
    /// Whether to end.
    pub(crate) fn to_end(&self) -> bool {
        self.0.came.load(Ordering::Relaxed)
    }

    /// The signal that came.
    pub(crate) fn signal(&self) -> Option<c_int> {
        let which = self.0.which.load(Ordering::Relaxed);
        c_int::try_from(which).ok().filter(|signal| *signal > 0)
    }

    /// The signal was meant for something else, which has dealt with it.
    pub(crate) fn forget(&self) {
        self.0.came.store(false, Ordering::Relaxed);
        self.0.which.store(0, Ordering::Relaxed);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

/// Notes the first of these signals; the second one kills as usual.
pub(crate) fn watch(signals: &[c_int]) -> Result<Asked, Problem> {
    let failed = |error| Problem::new(format!("cannot watch for signals: {error}"));
    let mut watch = Watch::default();
    for signal in signals {
        let (came, which) = (&watch.came, &watch.which);
        let number = usize::try_from(*signal).unwrap_or_default();
        let ids = [
            signal_hook::flag::register_conditional_default(*signal, came.clone())
                .map_err(failed)?,
            signal_hook::flag::register_usize(*signal, which.clone(), number).map_err(failed)?,
            signal_hook::flag::register(*signal, came.clone()).map_err(failed)?,
        ];
        watch.registered.extend(ids);
    }
    Ok(Asked(Arc::new(watch)))
}

/// Does something once a signal came.
pub(crate) fn when(asked: Asked, act: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        while !asked.to_end() {
            thread::sleep(LOOK);
        }
        act();
    });
}
