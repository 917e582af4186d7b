// SPDX-License-Identifier: MIT OR Apache-2.0
//! `sched`, `vcpu-list` and `vcpu-pin`: who gets how much of which CPU.

use crate::{
    args,
    domains::{ask, unknown_name},
    link::Client,
    output::{Output, seconds},
    problem::Problem,
};
use mgmt_proto::{
    config::CpuSet,
    messages::{
        DomainRef, DomainScheduling, PinVcpu, Reply, RequestBody, SetScheduling, VcpuSummary,
    },
};
use serde_json::{Value, json};

/// `sched`: shows, or with a weight or cap changes.
pub(crate) fn sched(client: &Client, output: Output, sched: &args::Sched) -> Result<(), Problem> {
    let changes = sched.weight.is_some() || sched.cap.is_some();
    match &sched.domain {
        Some(name) if changes => {
            let set = SetScheduling {
                domain: DomainRef::parse(name),
                weight: sched.weight,
                cap: sched.cap,
            };
            ask(client, name, RequestBody::SchedulingSet(set))?;
            output.done()
        }
        None if changes => Err(Problem::usage("--weight and --cap are for one domain")
            .with_remedy("name it: xenman sched DOMAIN --weight 512")),
        only => show(client, output, only.as_deref()),
    }
}

fn show(client: &Client, output: Output, only: Option<&str>) -> Result<(), Problem> {
    let Reply::Scheduling(all) = client.call(RequestBody::SchedulingList)? else {
        return Err(Problem::nonsense("what domains may use"));
    };
    let shown: Vec<&DomainScheduling> = all
        .iter()
        .filter(|domain| only.is_none_or(|only| is_named(domain.domid, &domain.name, only)))
        .collect();
    if let Some(name) = only.filter(|_| shown.is_empty()) {
        return Err(unknown_name(client, name));
    }
    if output.json {
        return output.json(&shown.iter().map(|domain| scheduling_json(domain)).collect());
    }
    let rows: Vec<Vec<String>> = shown.iter().map(|domain| scheduling_row(domain)).collect();
    let numbers = ["ID", "Weight", "Cap"];
    output.table(&["Name", "ID", "Weight", "Cap"], &numbers, &rows)
}

fn is_named(domid: u16, name: &str, wanted: &str) -> bool {
    match DomainRef::parse(wanted) {
        DomainRef::Id(wanted) => domid == wanted,
        DomainRef::Name(wanted) => name == wanted,
    }
}

fn scheduling_json(domain: &DomainScheduling) -> Value {
    json!({
        "domid": domain.domid,
        "name": domain.name,
        "weight": domain.weight,
        "cap": domain.cap,
    })
}

fn scheduling_row(domain: &DomainScheduling) -> Vec<String> {
    let cap = match domain.cap {
        0 => "none".to_owned(),
        cap => format!("{cap}%"),
    };
    vec![
        domain.name.clone(),
        domain.domid.to_string(),
        domain.weight.to_string(),
        cap,
    ]
}

/// `vcpu-list`.
pub(crate) fn list(client: &Client, output: Output, only: &[String]) -> Result<(), Problem> {
    let Reply::Vcpus(all) = client.call(RequestBody::VcpuList)? else {
        return Err(Problem::nonsense("a list of vCPUs"));
    };
    let missing = only.iter().find(|name| {
        !all.iter()
            .any(|vcpu| is_named(vcpu.domid, &vcpu.name, name))
    });
    if let Some(name) = missing {
        return Err(unknown_name(client, name));
    }
    let wanted = |vcpu: &&VcpuSummary| {
        only.is_empty()
            || only
                .iter()
                .any(|name| is_named(vcpu.domid, &vcpu.name, name))
    };
    let shown: Vec<&VcpuSummary> = all.iter().filter(wanted).collect();
    let cpus = all_cpus(client)?;
    if output.json {
        return output.json(&shown.iter().map(|vcpu| vcpu_json(vcpu)).collect());
    }
    let rows: Vec<Vec<String>> = shown.iter().map(|vcpu| vcpu_row(vcpu, cpus)).collect();
    output.table(
        &["Name", "ID", "VCPU", "CPU", "State", "Time(s)", "Affinity"],
        &["ID", "VCPU", "CPU", "Time(s)"],
        &rows,
    )
}

/// The host's CPUs, a bit for each.
fn all_cpus(client: &Client) -> Result<u64, Problem> {
    match client.call(RequestBody::Info)? {
        Reply::Info(info) => Ok(1_u64
            .checked_shl(info.cpus)
            .map_or(u64::MAX, |bit| bit.wrapping_sub(1))),
        _ => Err(Problem::nonsense("facts of the host")),
    }
}

fn vcpu_json(vcpu: &VcpuSummary) -> Value {
    let cpus = (0..64).filter(|cpu| vcpu.affinity >> cpu & 1 != 0);
    json!({
        "domid": vcpu.domid,
        "name": vcpu.name,
        "vcpu": vcpu.vcpu,
        "state": state(vcpu),
        "cpu": vcpu.cpu,
        "cpu_ns": vcpu.cpu_ns,
        "affinity": cpus.collect::<Vec<u32>>(),
    })
}

fn state(vcpu: &VcpuSummary) -> &'static str {
    vcpu.state.map_or("off", |state| state.name())
}

fn vcpu_row(vcpu: &VcpuSummary, cpus: u64) -> Vec<String> {
    let affinity = if vcpu.affinity == cpus {
        CpuSet::ALL
    } else {
        CpuSet(vcpu.affinity)
    };
    vec![
        vcpu.name.clone(),
        vcpu.domid.to_string(),
        vcpu.vcpu.to_string(),
        vcpu.cpu.to_string(),
        state(vcpu).to_owned(),
        seconds(vcpu.cpu_ns),
        affinity.to_string(),
    ]
}

/// `vcpu-pin`.
pub(crate) fn pin(client: &Client, output: Output, pin: &args::VcpuPin) -> Result<(), Problem> {
    let vcpu = match pin.vcpu.as_str() {
        "all" => None,
        number => Some(number.parse().map_err(|_| {
            Problem::usage(format!("'{number}' is not a vCPU"))
                .with_remedy("use its number, or \"all\"")
        })?),
    };
    let cpus = CpuSet::parse(&pin.cpus).ok_or_else(|| {
        Problem::usage(format!("'{}' is not a set of CPUs", pin.cpus))
            .with_remedy("write numbers below 64 such as \"0-3,^2\", or \"all\"")
    })?;
    let request = PinVcpu {
        domain: DomainRef::parse(&pin.domain),
        vcpu,
        cpus: cpus.0,
    };
    ask(client, &pin.domain, RequestBody::VcpuPin(request))?;
    output.done()
}
