// SPDX-License-Identifier: MIT OR Apache-2.0
//! `host add`, `list` and `rm`: the hosts that `xenman.conf` gives names to.

use crate::{args, conf::Conf, output::Output, problem::Problem};
use serde_json::json;

/// `host add`.
pub(crate) fn add(conf: &Conf, output: Output, add: &args::HostAdd) -> Result<(), Problem> {
    let path = conf.add_host(&add.name, &add.address)?;
    output.either(
        &json!({ "name": add.name, "file": path.to_string_lossy() }),
        &format!("added host '{}' to {}", add.name, path.display()),
    )
}

/// `host rm`.
pub(crate) fn remove(conf: &Conf, output: Output, name: &str) -> Result<(), Problem> {
    let path = conf.remove_host(name)?;
    output.either(
        &json!({ "name": name, "file": path.to_string_lossy() }),
        &format!("removed host '{name}' from {}", path.display()),
    )
}

/// `host list`.
pub(crate) fn list(conf: &Conf, output: Output) -> Result<(), Problem> {
    let (hosts, default) = (conf.hosts()?, conf.default_host()?);
    let is_default = |name: &str| default.as_deref() == Some(name);
    if output.json {
        let hosts = hosts.iter().map(|host| {
            json!({ "name": host.name, "address": host.address, "default": is_default(&host.name) })
        });
        return output.json(&hosts.collect());
    }
    let rows = hosts.iter().map(|host| {
        let address = host.address.clone();
        let default = if is_default(&host.name) { "yes" } else { "" };
        vec![
            host.name.clone(),
            address.unwrap_or_else(|| "-".to_owned()),
            default.to_owned(),
        ]
    });
    output.table(
        &["Name", "Address", "Default"],
        &[],
        &rows.collect::<Vec<_>>(),
    )
}
