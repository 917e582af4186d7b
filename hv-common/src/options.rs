//! The boot command line.

use log::LevelFilter;

/// What happens after the hypervisor or Domain-0 ended the machine in an unusual way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnPanic {
    /// Restart.
    #[default]
    Reboot,
    /// Stop.
    Halt,
}

/// What the boot command line asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Bytes of Domain-0's RAM: `dom0_mem=`.
    pub dom0_bytes: u64,
    /// vCPUs of Domain-0: `dom0_cpus=`.
    pub dom0_cpus: u32,
    /// Least important log lines shown: `loglvl=`.
    pub log_level: LevelFilter,
    /// `panic=reboot|halt`.
    pub on_panic: OnPanic,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            dom0_bytes: 24 << 20,
            dom0_cpus: 1,
            log_level: LevelFilter::Info,
            on_panic: OnPanic::Reboot,
        }
    }
}

/// Most RAM Domain-0 may be given.
const DOM0_BYTES_MAX: u64 = 1 << 30;
/// Least RAM Domain-0 may be given.
const DOM0_BYTES_MIN: u64 = 4 << 20;

impl Options {
    /// Reads a command line. `warn` hears of every word that means nothing here.
    #[must_use]
    pub fn parse(line: &str, mut warn: impl FnMut(&str)) -> Self {
        let mut options = Self::default();
        for word in line.split_ascii_whitespace() {
            if options.apply(word).is_none() {
                warn(word);
            }
        }
        options
    }

    fn apply(&mut self, word: &str) -> Option<()> {
        let (name, value) = word.split_once('=')?;
        match name {
            "dom0_mem" => {
                let bytes = parse_size(value)?;
                let fits = (DOM0_BYTES_MIN..=DOM0_BYTES_MAX).contains(&bytes);
                self.dom0_bytes = fits.then_some(bytes)?.next_multiple_of(2 << 20);
            }
            "dom0_cpus" => {
                let cpus = value.parse().ok()?;
                let fits = (1..=hv_abi::control::domain::VCPUS_MAX).contains(&cpus);
                self.dom0_cpus = fits.then_some(cpus)?;
            }
            "loglvl" => {
                self.log_level = match value {
                    "all" => LevelFilter::Trace,
                    "warning" => LevelFilter::Warn,
                    name => name.parse().ok()?,
                }
            }
            "panic" => {
                self.on_panic = match value {
                    "reboot" => OnPanic::Reboot,
                    "halt" => OnPanic::Halt,
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// A number of bytes with an optional `K`, `M` or `G`.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "" => 0,
        "K" | "k" => 10,
        "M" | "m" => 20,
        "G" | "g" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_are_applied_and_the_rest_is_named() {
        let mut unknown = std::vec::Vec::new();
        let line = "dom0_mem=31M dom0_cpus=2 loglvl=debug panic=halt quiet nosmp=1 dom0_mem=1T";
        let options = Options::parse(line, |word| unknown.push(std::string::String::from(word)));
        assert_eq!(
            options,
            Options {
                dom0_bytes: 32 << 20,
                dom0_cpus: 2,
                log_level: LevelFilter::Debug,
                on_panic: OnPanic::Halt,
            }
        );
        assert_eq!(unknown, ["quiet", "nosmp=1", "dom0_mem=1T"]);
    }

    #[test]
    fn sizes_out_of_bounds_are_refused() {
        for word in ["dom0_mem=1M", "dom0_mem=2G", "dom0_mem=", "dom0_cpus=0"] {
            assert_eq!(Options::default().apply(word), None, "{word}");
        }
        assert_eq!(parse_size("18446744073709551615K"), None);
    }
}
