//! Managed domains: what the host keeps of them while it is off, and what it does about those that crash.

use harness::board::Board;
use harness::operator::{Operator, Trouble, wait};

use crate::stage::SOON;
use crate::store::{Machine, holds};

/// One that starts with the host, with a kernel that is uploaded.
fn web(machine: &Machine) -> String {
    let kernel = machine.kernel("ticker");
    format!(
        "# the web server\nname = \"web\"\nkernel = \"{kernel}\"\nmemory = 8\non_xend_start = \"start\"\n"
    )
}

/// One that does not, with a kernel of the boot bundle.
const IDLE: &str = "name = \"idle\"\nkernel = \"boot:ticker\"\nmemory = 8\n";

/// One that crashes at once, and is to run.
const CRASHER: &str =
    "name = \"crasher\"\nkernel = \"boot:crasher\"\nmemory = 8\non_crash = \"restart\"\n";

fn is(operator: Operator<'_>, name: &str, state: &str) -> Result<(), Trouble> {
    let is = operator.state(name)?;
    holds(
        is.as_deref() == Some(state),
        &format!("{name} is {is:?}, not {state}"),
    )
}

/// Waits until a domain runs.
fn runs(operator: Operator<'_>, name: &str) -> Result<(), Trouble> {
    wait(SOON, &format!("{name} does not run"), || {
        let state = operator.state(name)?;
        Ok(state.is_some_and(|state| state != "off"))
    })?;
    operator.says(name, "tick", SOON)
}

fn uuid(operator: Operator<'_>, name: &str) -> Result<String, Trouble> {
    Ok(operator.json(&["list", name])?[0]["uuid"].to_string())
}

fn define(machine: &Machine, operator: Operator<'_>) -> Result<String, Trouble> {
    let web = web(machine);
    for (name, text) in [("web.cfg", web.as_str()), ("idle.cfg", IDLE)] {
        operator.run(&["new", &machine.file(name, text)])?;
    }
    is(operator, "web", "off")?;
    holds(
        operator.run(&["config", "show", "web"])? == web,
        "the definition is not what was written",
    )?;
    operator.run(&["start", "web"])?;
    runs(operator, "web")?;
    operator.refused(&["delete", "web"])?;
    operator.run(&["destroy", "web"])?;
    is(operator, "web", "off")?;
    uuid(operator, "web")
}

/// Domains are defined; the power fails; the one that is to start with the host does, as itself.
fn keeps_its_domains(board: Board) {
    let machine = Machine::with_guests(board, &["ticker"]);
    let mut before = String::new();
    machine.on(|operator| {
        before = define(&machine, operator)?;
        Ok(())
    });
    machine.on(|operator| {
        runs(operator, "web")?;
        holds(
            uuid(operator, "web")? == before,
            "web is another domain than before",
        )?;
        holds(
            operator.run(&["config", "show", "web"])? == web(&machine),
            "the definition is not what it was",
        )?;
        is(operator, "idle", "off")?;
        operator.run(&["start", "idle"])?;
        runs(operator, "idle")?;
        operator.run(&["destroy", "idle"])?;
        operator.run(&["delete", "idle"])?;
        operator.gone("idle", SOON)
    });
    machine.on(|operator| {
        runs(operator, "web")?;
        holds(operator.state("idle")?.is_none(), "idle is there again")
    });
}

#[test]
fn managed_domains_outlive_the_machine() {
    keeps_its_domains(Board::QemuVirt);
}

#[test]
fn managed_domains_outlive_the_machine_on_x86() {
    keeps_its_domains(Board::QemuQ35);
}

/// A domain that crashes whenever it is started is started again, not at once and not for ever.
#[test]
fn a_crash_loop_is_slowed_down_and_can_be_ended() {
    let machine = Machine::with_guests(Board::QemuVirt, &["crasher"]);
    machine.on(|operator| {
        operator.run(&["new", &machine.file("crasher.cfg", CRASHER)])?;
        operator.run(&["start", "crasher"])?;
        wait(SOON, "it is not started later and later", || {
            let log = operator.run(&["log"])?;
            Ok(log.contains("restart, in 1 s") && log.contains("restart, in 4 s"))
        })?;
        operator.run(&["destroy", "crasher"])?;
        is(operator, "crasher", "off")?;
        operator.run(&["delete", "crasher"]).map(drop)
    });
}
