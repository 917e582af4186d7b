// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hosts that can be looked at.

use super::{
    action::KnownHost,
    choice::Choice,
    palette::{Palette, chosen},
};
use crate::{
    conf::{Conf, NamedHost},
    link::Host,
    output::harmless,
    problem::Problem,
};
use ratatui::{
    Frame,
    layout::{Constraint, Rect},
    widgets::{Row, Table, TableState},
};

/// The view.
pub(super) type Hosts = Choice<KnownHost>;

pub(super) const KEYS: [&str; 2] = [
    "Enter look at this host",
    "↑ ↓ choose  Esc back  ? keys  q quit",
];

/// The hosts there are to choose from: those that `xenman.conf` names, the one that the environment names, and the one that
/// is looked at.
pub(super) fn known_hosts(current: &Host, conf: &Conf) -> Result<Vec<KnownHost>, Problem> {
    let environment = std::env::var("XENMAN_HOST").ok();
    let environment = environment.filter(|address| address.contains(':'));
    Ok(known(conf.hosts()?, current, environment))
}

/// The name that `xenman.conf` has for a host.
pub(super) fn name_of(host: &Host, conf: &Conf) -> Option<String> {
    let address = host.to_string();
    let mut hosts = conf.hosts().ok()?.into_iter();
    let named = hosts.find(|named| named.address.as_ref() == Some(&address))?;
    Some(named.name)
}

fn known(named: Vec<NamedHost>, current: &Host, environment: Option<String>) -> Vec<KnownHost> {
    let named = named.into_iter().filter_map(|host| {
        Some(KnownHost {
            name: host.name,
            address: host.address?,
        })
    });
    let mut hosts: Vec<KnownHost> = named.collect();
    let others = [
        ("XENMAN_HOST", environment),
        ("this one", Some(current.to_string())),
    ];
    for (name, address) in others {
        let address = address.filter(|it| hosts.iter().all(|host| host.address != *it));
        hosts.extend(address.map(|address| KnownHost {
            name: name.to_owned(),
            address,
        }));
    }
    hosts
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, hosts: &Hosts, palette: Palette) {
    let items = hosts.items().unwrap_or_default();
    let rows = items
        .iter()
        .map(|host| Row::new([harmless(&host.name), harmless(&host.address)]));
    let table = Table::new(rows, [Constraint::Length(24), Constraint::Fill(1)])
        .header(Row::new(["Host", "Address"]).style(palette.heading()))
        .row_highlight_style(chosen());
    let mut state = TableState::new().with_selected(hosts.place());
    frame.render_stateful_widget(table, area, &mut state);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_known_once() {
        let current: Host = "unix:/a".parse().unwrap();
        let named = |name: &str, address: Option<&str>| NamedHost {
            name: name.to_owned(),
            address: address.map(str::to_owned),
        };
        let known = |hosts: Vec<NamedHost>, environment: Option<&str>| -> Vec<(String, String)> {
            let known = known(hosts, &current, environment.map(str::to_owned));
            let pairs = known.into_iter();
            pairs.map(|host| (host.name, host.address)).collect()
        };
        let pair = |name: &str, address: &str| (name.to_owned(), address.to_owned());
        assert_eq!(known(Vec::new(), None), [pair("this one", "unix:/a")]);
        assert_eq!(
            known(
                vec![named("rack7", Some("unix:/a")), named("old", None)],
                Some("unix:/b")
            ),
            [pair("rack7", "unix:/a"), pair("XENMAN_HOST", "unix:/b")],
            "one that XenMan went to by other ways has no address"
        );
    }
}
