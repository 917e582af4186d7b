// SPDX-License-Identifier: MIT OR Apache-2.0
//! Domain configurations in the syntax of xl and xm.
//!
//! A configuration is a list of assignments (xl.cfg(5)): strings, numbers and lists, separated by
//! newlines or `;`, with `#` comments and `+=` to append. What is true here:
//!
//! - Nothing is ever executed: what is left of Python in old xm files is an error with a remedy.
//! - Every error and warning knows the file, line and column it is about and shows the line.
//! - Work and memory are bounded by the length of the text, itself at most [`MAX_TEXT`].
//!
//! [`ConfigFile`] is the syntax, [`DomainConfig`] what it means.

mod domain;
mod error;
#[cfg(test)]
mod guide;
mod image;
mod keys;
mod reader;
mod source;
mod suggest;
mod syntax;
mod value;

pub use domain::{Action, Affinity, Autostart, CpuSet, DomainConfig, Policies, check_name};
pub use error::{ConfigError, Place, Warning};
pub use image::{ImageSource, parse_uuid, uuid_text};
pub use suggest::suggest;
pub use syntax::{ConfigFile, Entry};
pub use value::{Node, Value};

/// The longest configuration text, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// The most assignments in one configuration.
pub const MAX_ENTRIES: usize = 512;

/// The most elements of one list.
pub const MAX_LIST: usize = 256;

/// The most lists within each other.
pub const MAX_NESTING: usize = 4;

/// The most virtual CPUs a domain may have.
pub const MAX_VCPUS: u32 = 16;

/// The longest kernel command line, in bytes.
pub const MAX_COMMAND_LINE: usize = 2048;

/// What a fuzzer calls: reads `data` as a configuration, renders every complaint, and checks that
/// what was read survives being written and read again.
///
/// # Panics
///
/// When the round trip changes a value: that is the bug being looked for.
pub fn fuzz_config(data: &[u8]) {
    let text = alloc::string::String::from_utf8_lossy(data);
    match ConfigFile::parse("fuzz.cfg", &text) {
        Err(error) => assert!(!alloc::format!("{error}").is_empty()),
        Ok(file) => {
            let again = ConfigFile::parse("fuzz.cfg", &file.to_text());
            assert!(again.is_ok_and(|again| again.same_values(&file)));
            match DomainConfig::from_file(&file) {
                Ok((config, warnings)) => {
                    assert!(config.vcpus <= config.max_vcpus);
                    assert!(warnings.iter().all(|warning| !warning.message.is_empty()));
                }
                Err(errors) => assert!(errors.iter().all(|error| !error.message.is_empty())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
