// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verbs about domains that take one request: list, pause, shutdown and the like.

use crate::{
    args,
    link::Client,
    output::{Output, harmless, note, seconds, size},
    problem::Problem,
    usage,
};
use mgmt_proto::{
    config::{check_name, suggest, uuid_text},
    messages::{
        DomainDetail, DomainFlags, DomainKind, DomainRef, DomainState, DomainSummary, ErrorCode,
        MAX_WAIT_MS, Reply, RequestBody, Shutdown,
    },
};
use serde_json::{Value, json};
use std::{thread, time::Duration};

/// How soon a domain that is busy is asked again.
const LOOK: Duration = Duration::from_millis(500);

/// `list`.
pub(crate) fn list(client: &Client, output: Output, only: &[String]) -> Result<(), Problem> {
    let all = domains(client)?;
    let shown = if only.is_empty() {
        all
    } else {
        chosen(&all, only)?
    };
    if output.json {
        return output.json(&shown.iter().map(summary_json).collect());
    }
    let rows: Vec<Vec<String>> = shown.iter().map(summary_row).collect();
    output.table(
        &["Name", "ID", "Type", "Mem", "VCPUs", "State", "Time(s)"],
        &["ID", "Mem", "VCPUs", "Time(s)"],
        &rows,
    )
}

fn chosen(all: &[DomainSummary], only: &[String]) -> Result<Vec<DomainSummary>, Problem> {
    only.iter()
        .map(|name| {
            all.iter()
                .find(|domain| is_named(domain, name))
                .cloned()
                .ok_or_else(|| unknown(name, all))
        })
        .collect()
}

fn is_named(domain: &DomainSummary, name: &str) -> bool {
    match DomainRef::parse(name) {
        DomainRef::Id(domid) => domain.number() == Some(domid),
        DomainRef::Name(name) => domain.name == name,
    }
}

fn summary_json(domain: &DomainSummary) -> Value {
    json!({
        "domid": domain.number(),
        "name": domain.name,
        "uuid": uuid_text(&domain.uuid),
        "type": domain.kind.name(),
        "state": domain.state.name(),
        "vcpus": domain.vcpus,
        "memory_kib": domain.memory_kib,
        "cpu_ns": domain.cpu_ns,
        "managed": domain.flags.contains(DomainFlags::MANAGED),
        "broken": domain.flags.contains(DomainFlags::BROKEN),
    })
}

fn summary_row(domain: &DomainSummary) -> Vec<String> {
    let doing = [
        (DomainFlags::BUILDING, "building"),
        (DomainFlags::SAVING, "saving"),
        (DomainFlags::RESTORING, "restoring"),
        (DomainFlags::SHUTTING_DOWN, "shutting down"),
        (DomainFlags::BROKEN, "broken"),
        (DomainFlags::WAITING, "waiting to restart"),
    ];
    let doing: String = doing
        .iter()
        .filter(|(flag, _)| domain.flags.contains(*flag))
        .map(|(_, word)| format!(", {word}"))
        .collect();
    vec![
        domain.name.clone(),
        number_text(domain),
        domain.kind.name().to_owned(),
        (domain.memory_kib / 1024).to_string(),
        domain.vcpus.to_string(),
        format!("{}{doing}", domain.state.name()),
        seconds(domain.cpu_ns),
    ]
}

/// The domain's number, or a dash.
fn number_text(domain: &DomainSummary) -> String {
    domain
        .number()
        .map_or_else(|| "-".to_owned(), |domid| domid.to_string())
}

/// All domains.
fn domains(client: &Client) -> Result<Vec<DomainSummary>, Problem> {
    match client.call(RequestBody::List)? {
        Reply::List(domains) => Ok(domains),
        _ => Err(Problem::nonsense("a list of domains")),
    }
}

/// Asks something about the domain the operator named; guesses what was meant if there is none.
pub(crate) fn ask(client: &Client, name: &str, body: RequestBody) -> Result<Reply, Problem> {
    client
        .call(body)
        .map_err(|error| explain(client, name, error.into()))
}

/// Adds a guess to xend's word that a domain is unknown.
pub(crate) fn explain(client: &Client, name: &str, problem: Problem) -> Problem {
    if !problem.is(ErrorCode::UNKNOWN_DOMAIN) {
        return problem;
    }
    match domains(client) {
        Ok(all) => unknown(name, &all),
        Err(_) => problem,
    }
}

/// The problem of a name that no domain has, with a guess at what was meant.
pub(crate) fn unknown_name(client: &Client, name: &str) -> Problem {
    unknown(name, &domains(client).unwrap_or_default())
}

fn unknown(name: &str, all: &[DomainSummary]) -> Problem {
    let mut problem = match DomainRef::parse(name) {
        DomainRef::Id(domid) => Problem::new(format!("there is no domain with the number {domid}")),
        DomainRef::Name(name) => Problem::new(format!("there is no domain '{}'", harmless(&name))),
    };
    problem.code = Some(ErrorCode::UNKNOWN_DOMAIN);
    match suggest(name, all.iter().map(|domain| domain.name.as_str())) {
        Some(meant) => problem.with_remedy(format!("did you mean '{}'?", harmless(meant))),
        None => problem.with_remedy("'xenman list' shows the domains there are"),
    }
}

/// One domain's line of `list`.
pub(crate) fn show(client: &Client, name: &str) -> Result<DomainSummary, Problem> {
    detail(client, name).map(|detail| detail.summary)
}

fn detail(client: &Client, name: &str) -> Result<DomainDetail, Problem> {
    match ask(client, name, RequestBody::Show(DomainRef::parse(name)))? {
        Reply::Domain(detail) => Ok(detail),
        _ => Err(Problem::nonsense("a domain")),
    }
}

/// `info NAME`.
pub(crate) fn info(client: &Client, output: Output, name: &str) -> Result<(), Problem> {
    let detail = detail(client, name)?;
    let used = usage::of(client, &detail.summary)?;
    let counters = detail.counters.iter();
    if output.json {
        let counters = counters.map(|it| (it.name.clone(), it.count.into()));
        let mut shown = summary_json(&detail.summary);
        shown["counters"] = Value::Object(counters.collect());
        shown["totals"] = json!(detail.totals.as_ref().map(usage::totals_json));
        shown["usage"] = json!(used.as_ref().map(|it| usage::json(it)));
        return output.json(&shown);
    }
    let summary = &detail.summary;
    let mut lines = vec![
        ("name".to_owned(), summary.name.clone()),
        ("number".to_owned(), number_text(summary)),
        ("UUID".to_owned(), uuid_text(&summary.uuid)),
        ("type".to_owned(), summary.kind.name().to_owned()),
        ("state".to_owned(), summary.state.name().to_owned()),
        ("vCPUs".to_owned(), summary.vcpus.to_string()),
        ("memory".to_owned(), size(summary.memory_kib)),
        (
            "CPU time".to_owned(),
            format!("{} s", seconds(summary.cpu_ns)),
        ),
    ];
    if let Some(used) = &used {
        lines.extend(usage::lines(used));
    }
    lines.extend(detail.totals.iter().flat_map(usage::totals_lines));
    lines.extend(counters.map(|it| (it.name.clone(), it.count.to_string())));
    let lines = lines.into_iter();
    let text: String = lines
        .map(|(what, value)| format!("{:<24}{}\n", harmless(&what), harmless(&value)))
        .collect();
    output.bytes(text.as_bytes())
}

/// `pause`, `unpause`, `destroy`.
pub(crate) fn simple(
    client: &Client,
    output: Output,
    name: &str,
    request: fn(DomainRef) -> RequestBody,
) -> Result<(), Problem> {
    ask(client, name, request(DomainRef::parse(name)))?;
    output.done()
}

/// `rename`.
pub(crate) fn rename(
    client: &Client,
    output: Output,
    rename: &args::Rename,
) -> Result<(), Problem> {
    check_name(&rename.name)
        .map_err(|reason| Problem::new(reason).with_remedy("choose another name"))?;
    let body = RequestBody::Rename(mgmt_proto::messages::Rename {
        domain: DomainRef::parse(&rename.domain),
        name: rename.name.clone(),
    });
    ask(client, &rename.domain, body)?;
    output.done()
}

/// `domid`.
pub(crate) fn domid(client: &Client, output: Output, name: &str) -> Result<(), Problem> {
    let all = domains(client)?;
    let domain = all
        .iter()
        .find(|domain| domain.name == name)
        .ok_or_else(|| unknown(name, &all))?;
    let domid = number(domain)?;
    output.either(&json!({ "domid": domid }), &domid.to_string())
}

/// `domname`.
pub(crate) fn domname(client: &Client, output: Output, domid: u16) -> Result<(), Problem> {
    let name = show(client, &domid.to_string())?.name;
    output.either(&json!({ "name": name }), &harmless(&name))
}

/// The number of a domain that runs.
fn number(domain: &DomainSummary) -> Result<u16, Problem> {
    domain.number().ok_or_else(|| {
        let name = harmless(&domain.name);
        let mut problem = Problem::new(format!("domain '{name}' is not running"))
            .with_remedy(format!("'xenman start {name}' starts it"));
        problem.code = Some(ErrorCode::WRONG_STATE);
        problem
    })
}

/// What the guest is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Shutdown,
    Reboot,
}

impl Wish {
    fn body(self, domid: u16, wait_ms: u32) -> RequestBody {
        let wish = Shutdown {
            domain: DomainRef::Id(domid),
            wait_ms,
        };
        match self {
            Self::Shutdown => RequestBody::Shutdown(wish),
            Self::Reboot => RequestBody::Reboot(wish),
        }
    }
}

/// `shutdown`.
pub(crate) fn shutdown(
    client: &Client,
    output: Output,
    shutdown: &args::Shutdown,
) -> Result<(), Problem> {
    let domids = match (&shutdown.domain, shutdown.all) {
        (Some(name), false) => vec![number(&show(client, name)?)?],
        (None, true) => guests(client)?,
        (Some(_), true) => return Err(Problem::usage("name a domain or say --all, not both")),
        (None, false) => return Err(Problem::usage("name a domain, or say --all")),
    };
    wish(client, Wish::Shutdown, &domids, shutdown.wait)?;
    output.done()
}

/// `reboot`.
pub(crate) fn reboot(
    client: &Client,
    output: Output,
    reboot: &args::Reboot,
) -> Result<(), Problem> {
    let domid = number(&show(client, &reboot.domain)?)?;
    wish(client, Wish::Reboot, &[domid], reboot.wait)?;
    output.done()
}

fn guests(client: &Client) -> Result<Vec<u16>, Problem> {
    let guests = domains(client)?
        .into_iter()
        .filter(|domain| domain.kind != DomainKind::CONTROL);
    let alive = |domain: &DomainSummary| {
        !matches!(
            domain.state,
            DomainState::SHUTDOWN | DomainState::CRASHED | DomainState::DYING
        )
    };
    Ok(guests
        .filter(alive)
        .filter_map(|domain| domain.number())
        .collect())
}

/// Asks all of them, then waits for each if told to. The first failure is reported after all are asked.
fn wish(client: &Client, wish: Wish, domids: &[u16], wait: bool) -> Result<(), Problem> {
    let mut result = Ok(());
    for domid in domids {
        let asked = client
            .call(wish.body(*domid, 0))
            .map(drop)
            .map_err(Problem::from);
        result = result.and(asked);
    }
    result?;
    if wait {
        domids
            .iter()
            .try_for_each(|domid| wait_until_done(client, wish, *domid))?;
    }
    Ok(())
}

/// Waits for one domain, however long it takes. A guest that is asked again while it obeys ignores it.
fn wait_until_done(client: &Client, wish: Wish, domid: u16) -> Result<(), Problem> {
    let mut told = false;
    loop {
        match client
            .call(wish.body(domid, MAX_WAIT_MS))
            .map_err(Problem::from)
        {
            Ok(_) => return Ok(()),
            Err(problem) if is_over(&problem) => return Ok(()),
            Err(problem) if problem.is(ErrorCode::TIMED_OUT) => {}
            Err(problem) if problem.is(ErrorCode::BUSY) => thread::sleep(LOOK),
            Err(problem) => return Err(problem),
        }
        if !std::mem::replace(&mut told, true) {
            note(&format!(
                "xenman: domain {domid} takes its time; Ctrl-C stops waiting, 'xenman destroy {domid}' ends it at once"
            ));
        }
    }
}

/// The domain is not there any more, or has stopped already.
fn is_over(problem: &Problem) -> bool {
    problem.is(ErrorCode::UNKNOWN_DOMAIN) || problem.is(ErrorCode::WRONG_STATE)
}
