// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operator's terminal: raw while attached, itself again afterwards.

use crate::problem::Problem;
use std::sync::Once;

/// While it lives, keys go to the guest as they are typed.
pub(super) struct RawMode {
    active: bool,
}

impl RawMode {
    /// Makes the terminal raw, if there is one.
    pub(super) fn enter(interactive: bool) -> Result<Self, Problem> {
        if interactive {
            restore_on_panic();
            crossterm::terminal::enable_raw_mode()
                .map_err(|error| Problem::new(format!("cannot take the terminal: {error}")))?;
        }
        Ok(Self {
            active: interactive,
        })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        if self.active {
            // A terminal that is gone needs no restoring.
            drop(crossterm::terminal::disable_raw_mode());
        }
    }
}

/// A panic ends the process without unwinding: the terminal is restored before.
fn restore_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            drop(crossterm::terminal::disable_raw_mode());
            usual(info);
        }));
    });
}

/// Old output without the questions that terminals answer (ECMA-48 DSR and DA): the answers would be
/// typed into a guest that asked long ago.
pub(super) fn without_questions(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match question_length(rest) {
            Some(length) => rest = rest.get(length..).unwrap_or_default(),
            None => {
                kept.push(*first);
                rest = after;
            }
        }
    }
    kept
}

/// The length of the question these bytes begin with.
fn question_length(bytes: &[u8]) -> Option<usize> {
    let parameters = bytes.strip_prefix(b"\x1b[")?;
    let end = parameters
        .iter()
        .position(|byte| !matches!(byte, 0x20..=0x3f))?;
    matches!(parameters.get(end), Some(b'n' | b'c')).then_some(end.checked_add(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_questions_are_not_asked_again() {
        assert_eq!(
            without_questions(b"a\x1b[6n~ # \x1b[1;31mred\x1b[0m\x1b[>c!"),
            b"a~ # \x1b[1;31mred\x1b[0m!"
        );
        assert_eq!(without_questions(b"cut \x1b[6"), b"cut \x1b[6");
    }
}
