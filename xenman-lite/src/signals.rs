// SPDX-License-Identifier: MIT OR Apache-2.0
//! Signals that ask to end, noted instead of died of.

use crate::problem::Problem;
use std::{
    ffi::c_int,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How often a noted signal is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Whether one of the signals came.
#[derive(Clone, Default)]
pub(crate) struct Asked(Arc<AtomicBool>);

impl Asked {
    /// Whether to end.
    pub(crate) fn to_end(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Notes the first of these signals; the second one kills as usual.
pub(crate) fn watch(signals: &[c_int]) -> Result<Asked, Problem> {
    let asked = Asked::default();
    for signal in signals {
        signal_hook::flag::register_conditional_default(*signal, asked.0.clone())
            .and_then(|_| signal_hook::flag::register(*signal, asked.0.clone()))
            .map_err(|error| Problem::new(format!("cannot watch for signals: {error}")))?;
    }
    Ok(asked)
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
