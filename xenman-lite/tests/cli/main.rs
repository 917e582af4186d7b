// SPDX-License-Identifier: MIT OR Apache-2.0
//! xenman as an operator or a script meets it: the program itself, towards a small xend of our own.
#![forbid(unsafe_code)]
#![expect(unreachable_pub, reason = "a test has no callers elsewhere")]

mod conf;
mod domains;
mod fake;
mod first_steps;
mod images;
mod interruptions;
mod json;
mod managed;
mod saved;
mod shell;
mod terminal;
mod verbs;
