// SPDX-License-Identifier: MIT OR Apache-2.0
//! The hosts that can be looked at.

use super::{
    action::KnownHost,
    choice::Choice,
    palette::{Palette, chosen},
};
use crate::{link::Host, output::harmless};
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

/// The hosts there are to choose from: the one that is looked at, and the one that the environment names.
pub(super) fn known_hosts(current: &Host) -> Vec<KnownHost> {
    let named = std::env::var("XENMAN_HOST").ok();
    known(current, named.filter(|address| !address.is_empty()))
}

fn known(current: &Host, named: Option<String>) -> Vec<KnownHost> {
    let current = KnownHost {
        name: "now".to_owned(),
        address: current.to_string(),
    };
    let named = named.map(|address| KnownHost {
        name: "XENMAN_HOST".to_owned(),
        address,
    });
    let other = named.filter(|named| named.address != current.address);
    [current].into_iter().chain(other).collect()
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
        let addresses = |named: Option<&str>| -> Vec<String> {
            let known = known(&current, named.map(str::to_owned));
            known.into_iter().map(|host| host.address).collect()
        };
        assert_eq!(addresses(None), ["unix:/a"]);
        assert_eq!(addresses(Some("unix:/a")), ["unix:/a"]);
        assert_eq!(addresses(Some("unix:/b")), ["unix:/a", "unix:/b"]);
    }
}
