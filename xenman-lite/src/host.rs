// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verbs about the host: info, dmesg, log, its store.

use crate::{
    link::Client,
    output::{Output, note, printable, seconds, size},
    problem::Problem,
};
use mgmt_proto::messages::{
    Follow, HostInfo, MAX_WAIT_MS, Reply, RequestBody, StoreInfo, StorePlace,
};
use serde_json::{Value, json};
use std::io::{IsTerminal, stdout};

/// `info`.
pub(crate) fn info(client: &Client, output: Output) -> Result<(), Problem> {
    let Reply::Info(info) = client.call(RequestBody::Info)? else {
        return Err(Problem::nonsense("the host's facts"));
    };
    if output.json {
        output.json(&info_json(&info))
    } else {
        output.bytes(info_text(&info).as_bytes())
    }
}

fn info_json(info: &HostInfo) -> Value {
    let phases = info
        .boot_phases
        .iter()
        .map(|phase| json!({ "name": phase.name, "duration_ns": phase.duration_ns }));
    json!({
        "total_kib": info.total_kib,
        "free_kib": info.free_kib,
        "hypervisor_kib": info.hypervisor_kib,
        "dom0_kib": info.dom0_kib,
        "boot_kib": info.boot_kib,
        "store_kib": info.store_kib,
        "domains_kib": info.domains_kib,
        "cpus": info.cpus,
        "arch": info.arch,
        "virtualization": info.virtualization,
        "board": info.board,
        "uptime_ns": info.uptime_ns,
        "hypervisor": info.hypervisor,
        "xend": info.xend,
        "xenman": concat!("xenman ", env!("CARGO_PKG_VERSION")),
        "domains": info.domains,
        "heap_used": info.heap_used,
        "heap_size": info.heap_size,
        "wall_clock_ns": info.wall_clock_ns,
        "store": info.store.as_ref().map(|store| json!({
            "place": store.place.name(),
            "size_kib": store.size_kib,
            "reason": store.reason,
            "free_kib": store.free_kib,
        })),
        "boot_phases": phases.collect::<Vec<_>>(),
    })
}

fn info_text(info: &HostInfo) -> String {
    let mut lines = vec![
        ("board", format!("{} ({})", info.board, info.arch)),
        ("processors", info.cpus.to_string()),
        (
            "virtualization",
            info.virtualization.clone().unwrap_or_else(|| "-".into()),
        ),
        ("domains", info.domains.to_string()),
        ("up", format!("{} s", seconds(info.uptime_ns))),
        ("memory", size(info.total_kib)),
        ("  free", size(info.free_kib)),
        ("  hypervisor", size(info.hypervisor_kib)),
        (
            "  Domain-0",
            format!(
                "{} (heap: {} of {} used)",
                size(info.dom0_kib),
                size(info.heap_used / 1024),
                size(info.heap_size / 1024)
            ),
        ),
        ("  boot bundle", size(info.boot_kib)),
        ("  store", size(info.store_kib)),
        ("  domains", size(info.domains_kib)),
        (
            "store",
            info.store.as_deref().map_or_else(|| "-".into(), store_text),
        ),
        ("hypervisor", info.hypervisor.clone()),
        ("xend", info.xend.clone()),
    ];
    lines.extend(info.boot_phases.iter().enumerate().map(|(index, phase)| {
        let label = if index == 0 { "start" } else { "" };
        (
            label,
            format!(
                "{:>7}.{:03} ms  {}",
                phase.duration_ns / 1_000_000,
                phase.duration_ns / 1000 % 1000,
                phase.name
            ),
        )
    }));
    lines
        .iter()
        .map(|(label, text)| format!("{label:<14} {}\n", crate::output::harmless(text)))
        .collect()
}

fn store_text(store: &StoreInfo) -> String {
    let disk = size(store.size_kib);
    match store.place {
        StorePlace::DISK => match store.free_kib {
            Some(free) => format!("on a disk of {disk}, {} free", size(free)),
            None => format!("on a disk of {disk}"),
        },
        StorePlace::RESCUE => format!(
            "in memory; the disk of {disk} is not written to: {}",
            store.reason.as_deref().unwrap_or("xend does not say why")
        ),
        _ => "in memory, there is no disk".into(),
    }
}

/// `host init`.
pub(crate) fn init(client: &Client, output: Output, force: bool) -> Result<(), Problem> {
    client.call(RequestBody::HostInit(force))?;
    output.done()
}

/// `dmesg` and `log`: reads to the end, and with `follow` on from there until interrupted.
pub(crate) fn text(
    client: &Client,
    output: Output,
    follow: bool,
    request: fn(Follow) -> RequestBody,
) -> Result<(), Problem> {
    let mut cursor = None;
    let mut all = Vec::new();
    loop {
        let caught_up = follow && cursor.is_some();
        let wait_ms = if caught_up { MAX_WAIT_MS } else { 0 };
        let Reply::Text(chunk) = client.call(request(Follow { cursor, wait_ms }))? else {
            return Err(Problem::nonsense("a piece of a log"));
        };
        cursor = Some(chunk.next);
        if chunk.lost > 0 {
            note(&format!("xenman: {} bytes of the log are gone", chunk.lost));
        }
        if chunk.text.is_empty() && !follow {
            break;
        }
        if output.json && !follow {
            all.extend_from_slice(&chunk.text);
        } else if output.json {
            output.line(&json!({ "text": String::from_utf8_lossy(&chunk.text) }).to_string())?;
        } else if stdout().is_terminal() {
            output.bytes(&printable(&chunk.text))?;
        } else {
            output.bytes(&chunk.text)?;
        }
    }
    if output.json {
        output.json(&json!({ "text": String::from_utf8_lossy(&all) }))
    } else {
        Ok(())
    }
}
