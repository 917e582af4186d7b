// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hosts that `xenman.conf` names: every section that is not one of the others.

use super::{Conf, DISK, SECTIONS, edit, ini::Ini};
use crate::{args, link::Host, output::harmless, problem::Problem};
use mgmt_proto::config::suggest;
use std::path::PathBuf;

/// A host by its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedHost {
    pub(crate) name: String,
    /// `None`: the section is one of XenMan's, which went by other ways.
    pub(crate) address: Option<String>,
}

impl Conf {
    /// The hosts that have names.
    pub(crate) fn hosts(&self) -> Result<Vec<NamedHost>, Problem> {
        let names = self.host_names().into_iter();
        let hosts = names.map(|name| {
            Ok(NamedHost {
                address: self.text(name, "address")?,
                name: name.to_owned(),
            })
        });
        hosts.collect()
    }

    fn host_names(&self) -> Vec<&str> {
        let names = self.found.iter().flat_map(|found| found.ini.names());
        names.filter(|name| is_host(name)).collect()
    }

    /// The host that is meant by a name or an address.
    pub(crate) fn host(&self, word: &str) -> Result<Host, Problem> {
        if self.host_names().contains(&word) {
            return self.named_host(word);
        }
        let problem = match word.parse() {
            Ok(host) => return Ok(host),
            Err(error) => Problem::from(error),
        };
        Err(match suggest(word, self.host_names()) {
            Some(meant) => problem.with_remedy(format!("did you mean '{}'?", harmless(meant))),
            None if word.contains(':') => problem,
            None => problem.with_remedy(
                "'xenman host list' shows the hosts that have names, 'xenman host add' gives one to a host",
            ),
        })
    }

    fn named_host(&self, name: &str) -> Result<Host, Problem> {
        let Some(address) = self.get(name, "address")? else {
            let file = self.name();
            return Err(
                Problem::usage(format!("{file} has no address for '{name}'")).with_remedy(format!(
                    "write address = unix:PATH or serial:/dev/tty… below [{name}]"
                )),
            );
        };
        address.text.parse().map_err(|error| {
            let mut problem = Problem::from(error);
            problem.message = format!("{}:{}: {}", self.name(), address.line, problem.message);
            problem
        })
    }

    /// Adds a host; the file that was written.
    pub(crate) fn add_host(&self, name: &str, address: &str) -> Result<PathBuf, Problem> {
        check_name(name)?;
        let address = lasting(address)?;
        self.change(|text| {
            if Ini::parse(text).is_ok_and(|ini| ini.has(name)) {
                return Err(
                    Problem::new(format!("there is a host '{name}' already")).with_remedy(format!(
                        "choose another name, or remove it: xenman host rm {name}"
                    )),
                );
            }
            edit::set(text, name, "address", &address)
        })
    }

    /// Removes a host; the file that was written.
    pub(crate) fn remove_host(&self, name: &str) -> Result<PathBuf, Problem> {
        if !self.host_names().contains(&name) {
            let problem = Problem::new(format!("there is no host '{}'", harmless(name)));
            return Err(match suggest(name, self.host_names()) {
                Some(meant) => problem.with_remedy(format!("did you mean '{}'?", harmless(meant))),
                None => problem.with_remedy("'xenman host list' shows the hosts that have names"),
            });
        }
        self.change(|text| Ok(edit::remove(text, name)))
    }
}

fn is_host(section: &str) -> bool {
    !SECTIONS.contains(&section) && !section.starts_with(DISK)
}

/// Refuses what cannot be a host's name.
fn check_name(name: &str) -> Result<(), Problem> {
    let may_be = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins && name.chars().all(may_be) && name.len() <= 64 {
        if SECTIONS.iter().any(|it| it.eq_ignore_ascii_case(name)) {
            return Err(
                Problem::usage(format!("'{name}' is not a host in xenman.conf"))
                    .with_remedy("choose another name"),
            );
        }
        return Ok(());
    }
    Err(Problem::usage(format!(
        "'{}' cannot be a host's name: it is made of letters, digits, '.', '_' and '-', at most 64, the first one a letter \
         or digit",
        harmless(name)
    ))
    .with_remedy("choose another name"))
}

/// An address that means the same wherever xenman is started.
fn lasting(address: &str) -> Result<String, Problem> {
    let host: Host = address
        .parse()
        .map_err(|error| Problem::from(error).with_remedy_if_none(args::ADDRESS_REMEDY))?;
    match host {
        Host::Unix(path) => {
            let path = std::path::absolute(&path)
                .map_err(|error| Problem::file("find", &path.to_string_lossy(), &error))?;
            Ok(format!("unix:{}", path.display()))
        }
        Host::Serial { .. } => Ok(host.to_string()),
    }
}
