//! The dashboard and its samples, on a booted machine.

use std::fs;

use harness::images::Images;
use harness::operator::Trouble;

use crate::linux;
use crate::pty::Pty;
use crate::screens::is_committed;
use crate::stage::{LINUX_BOOT, SOON, Stage, on_machine};

#[test]
fn one_sample_shows_who_uses_the_machine() {
    on_machine(|stage| {
        stage.create_small("busy", "runaway", "")?;
        let sample = stage.operator.json(&["top", "--once"])?;
        let domains = sample["domains"].as_array().expect("a list");
        let names: Vec<_> = domains.iter().map(|domain| &domain["name"]).collect();
        assert_eq!(names, ["Domain-0", "busy"], "{sample}");
        let percent = |domain: usize| domains[domain]["cpu_percent"].as_f64().expect("a rate");
        assert!(percent(1) > 50.0, "it never waits: {sample}");
        assert!(
            percent(0) + percent(1) < 101.0,
            "there is one CPU: {sample}"
        );
        assert!(domains[1]["exits"].as_u64() > Some(0), "{sample}");
        let uptime = |value: &serde_json::Value| value["uptime_ns"].as_u64().expect("a time");
        assert!(uptime(&domains[1]) < uptime(&sample["host"]), "{sample}");
        stage.do_to("destroy", "busy")
    });
}

const DOWN: &str = "\x1b[B";
const ESCAPE: &str = "\x1b";
const END: &str = "\x1b[F";
const CLEAR: &str = "\x15";
const LEAVE_CONSOLE: &str = "\x1d";
/// At the bottom of every screen of the dashboard.
const HINTS: &str = "q quit";

/// The dashboard of the host at that address, in a terminal.
fn dashboard(address: &str) -> Result<Pty, Trouble> {
    dashboard_with("", address)
}

/// The same with something set in its environment.
fn dashboard_with(environment: &str, address: &str) -> Result<Pty, Trouble> {
    let xenman = Images::of_workspace().xenman();
    let nobody = "env -u HOME -u XENMAN_HOME";
    let command = format!("{nobody} {environment} {} -H {address}", xenman.display());
    let pty = Pty::start(&command)?;
    pty.shows(HINTS)?;
    Ok(pty)
}

#[test]
fn a_domain_is_looked_after_with_keys_alone() {
    on_machine(|stage| {
        stage.create_small("clock", "ticker", "")?;
        let mut pty = dashboard(&stage.host.address())?;
        pty.shows("Domain-0")?;
        pty.until("its figures are not shown", |pty| {
            let line = pty.line("clock").unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(2) == Some(&"pvh") && line.contains(" 8 ") && line.contains('▁')
        })?;
        let state = |word: &'static str| {
            move |pty: &Pty| pty.line("clock").is_some_and(|line| line.contains(word))
        };
        pty.press(DOWN)?;
        pty.press("p")?;
        pty.until("it is not paused", state(" paused "))?;
        pty.press("p")?;
        pty.until("it does not run again", |pty| !state(" paused ")(pty))?;

        pty.press("c")?;
        pty.until("its console is not shown", |pty| {
            pty.line("tick ").is_some()
        })?;
        pty.press(LEAVE_CONSOLE)?;
        pty.shows(HINTS)?;
        pty.until("the table is not back", |pty| pty.line("clock").is_some())?;

        assert!(pty.is_coloured(), "there are colours");
        pty.resize(120, 40)?;
        pty.until("it does not fill the terminal", |pty| {
            pty.text()
                .lines()
                .nth(39)
                .is_some_and(|line| line.ends_with(HINTS))
        })?;
        pty.resize(60, 20)?;
        pty.shows("needs a terminal of 80x24")?;
        pty.resize(80, 24)?;
        pty.shows(HINTS)?;

        pty.press("d")?;
        pty.shows("Destroy 'clock'?")?;
        pty.press("n")?;
        pty.shows("'clock' is left alone")?;
        stage.is("clock", &["running", "blocked"])?;
        pty.press("dy")?;
        pty.shows("'clock' is destroyed")?;
        pty.until("it is still shown", |pty| pty.line("clock").is_none())?;
        stage.operator.gone("clock", SOON)?;
        pty.press("q")?;
        pty.is_given_back()
    });
}

#[test]
fn a_domain_is_asked_to_reboot_and_to_shut_down() {
    on_machine(|stage| {
        // A guest that does not listen, and one that does.
        stage.create_small("clock", "ticker", "")?;
        let mut pty = dashboard(&stage.host.address())?;
        pty.until("it is not shown", |pty| pty.line("clock").is_some())?;
        pty.press(DOWN)?;
        pty.press("s")?;
        pty.shows("the guest does not listen to shutdown requests")?;
        stage.do_to("destroy", "clock")?;

        let console = linux::up(stage, "debian", &linux::bundled(stage, "debian", 192))?;
        pty.until("it is not selected", |pty| {
            pty.line("debian").is_some() && pty.line("clock").is_none()
        })?;
        pty.press(DOWN)?;
        pty.press("b")?;
        pty.shows("'debian' was asked to reboot")?;
        console.line("GUEST-UP", LINUX_BOOT)?;
        pty.press("s")?;
        pty.shows("'debian' was asked to shut down")?;
        pty.until("it is still shown", |pty| pty.line("debian").is_none())?;
        pty.press("q")?;
        pty.is_given_back()
    });
}

#[test]
fn a_managed_linux_is_added_and_looked_after_with_keys_alone() {
    on_machine(from_image_to_end);
}

/// The whole life of a managed Linux that is made from an image. Its name is no other test's: events and the log are those
/// of the machine.
pub(crate) fn from_image_to_end(stage: &Stage<'_>) -> Result<(), Trouble> {
    linux::add_image(stage, "debian")?;
    let mut pty = dashboard(&stage.host.address())?;
    add_by_form(&mut pty)?;
    let is = |word: &'static str| {
        move |pty: &Pty| pty.line("kiosk").is_some_and(|line| line.contains(word))
    };
    pty.until("it is not in the table", |pty| {
        is(" running ")(pty) || is(" blocked ")(pty)
    })?;
    look_closer(&mut pty)?;

    let console = stage.operator.console("kiosk")?;
    console.line("GUEST-UP", LINUX_BOOT)?;
    pty.press("c")?;
    pty.shows("GUEST-UP")?;
    pty.press(LEAVE_CONSOLE)?;
    pty.shows(HINTS)?;
    pty.press("b")?;
    pty.shows("'kiosk' was asked to reboot")?;
    console.line("GUEST-UP", LINUX_BOOT)?;

    pty.press("x")?;
    pty.shows("'kiosk' is not off: shut it down")?;
    pty.press("s")?;
    pty.shows("'kiosk' was asked to shut down")?;
    pty.until("it is not off", is(" off "))?;
    pty.press("x")?;
    is_committed(&pty, "delete")?;
    pty.press("y")?;
    pty.shows("'kiosk' is deleted")?;
    pty.until("it is still in the table", |pty| {
        pty.line("kiosk").is_none()
    })?;
    forgets(&pty, "is deleted")?;
    is_committed(&pty, "deleted")?;
    pty.press("q")?;
    pty.is_given_back()?;
    stage.operator.gone("kiosk", SOON)?;
    stage.operator.run(&["image", "rm", "debian"]).map(drop)
}

/// Waits until a word that something was done is gone.
fn forgets(pty: &Pty, words: &str) -> Result<(), Trouble> {
    pty.until(&format!("{words:?} stays"), |pty| {
        !pty.text().contains(words)
    })
}

fn add_by_form(pty: &mut Pty) -> Result<(), Trouble> {
    pty.press("a")?;
    pty.shows("‹ debian ›")?;
    pty.press("\t12")?;
    pty.shows("is not a number")?;
    pty.press(&format!("{CLEAR}kiosk\t{CLEAR}192"))?;
    is_committed(pty, "form")?;
    pty.press("\r")?;
    pty.shows("'kiosk' is defined and started")
}

fn look_closer(pty: &mut Pty) -> Result<(), Trouble> {
    pty.press("i")?;
    pty.shows("may run on")?;
    forgets(pty, "is defined")?;
    is_committed(pty, "detail")?;
    pty.press(END)?;
    pty.shows("store:debian")?;
    pty.shows("memory=192")?;
    is_committed(pty, "detail-end")?;
    pty.press(ESCAPE)?;
    pty.shows("Events")
}

#[test]
fn a_domain_is_saved_where_the_operator_says() {
    on_machine(|stage| {
        stage.create_small("clock", "ticker", "")?;
        let mut pty = dashboard(&stage.host.address())?;
        pty.until("it is not shown", |pty| pty.line("clock").is_some())?;
        pty.press(DOWN)?;
        pty.press("v")?;
        pty.shows("to: clock.save_")?;
        let file = stage.file("from-the-dashboard");
        pty.press(&format!("\x15{}\r", file.display()))?;
        pty.shows("'clock' is saved to")?;
        stage.operator.gone("clock", SOON)?;
        pty.press("q")?;
        pty.is_given_back()?;
        let path = file.to_string_lossy().into_owned();
        stage.operator.run(&["restore", &path])?;
        stage.ticks_go_on("clock")?;
        fs::remove_file(&file).expect("it was written");
        stage.do_to("destroy", "clock")
    });
}

#[test]
fn a_domain_is_saved_into_the_store_and_restored_with_keys_alone() {
    on_machine(|stage| {
        stage.create_small("clock", "ticker", "")?;
        let mut pty = dashboard(&stage.host.address())?;
        pty.until("it is not shown", |pty| pty.line("clock").is_some())?;
        pty.press(&format!("{DOWN}v"))?;
        pty.shows("to: clock.save_")?;
        pty.press(&format!("{CLEAR}store:noon\r"))?;
        pty.shows("'clock' is saved to store:noon")?;
        pty.until("it is still shown", |pty| pty.line("clock").is_none())?;
        pty.press("m")?;
        pty.until("it is not listed", |pty| {
            let words = pty.line("noon").unwrap_or_default();
            words.contains(" store ") && words.contains(" clock ")
        })?;
        pty.press("\r")?;
        pty.shows("'clock' is restored")?;
        pty.until("it is not back", |pty| pty.line("clock").is_some())?;
        stage.ticks_go_on("clock")?;
        pty.press("m")?;
        pty.until("it is not listed", |pty| pty.line("noon").is_some())?;
        pty.press("\r")?;
        pty.shows("cannot be restored beside itself")?;
        pty.press("xy")?;
        pty.shows("There is nothing saved")?;
        // With a letter right behind it, Escape would be another key.
        pty.press(ESCAPE)?;
        pty.shows("Events")?;
        pty.press("dy")?;
        pty.shows("'clock' is destroyed")?;
        pty.press("q")?;
        pty.is_given_back()
    });
}

#[test]
fn another_host_is_turned_to_and_one_that_is_not_there_is_not() {
    on_machine(|stage| {
        let second = format!("unix:{}", stage.file("other.sock").display());
        let environment = format!("XENMAN_HOST={second}");
        let mut pty = dashboard_with(&environment, &stage.host.address())?;
        pty.shows("Domain-0")?;
        pty.press("h")?;
        pty.until("both are not listed", |pty| {
            pty.line("XENMAN_HOST").is_some() && pty.line("this one").is_some()
        })?;
        pty.press("\r")?;
        pty.shows("cannot reach xend")?;
        pty.shows(" s old")?;

        let broker = stage.host.session(["serve", "--listen", &second]);
        let broker = broker.expect("a broker starts");
        let ready = broker.errors().expect("serving", SOON);
        ready.map_err(|missing| Trouble(missing.to_string()))?;
        pty.press("h")?;
        pty.shows("this one")?;
        pty.press("\r")?;
        pty.shows("this is qemu-virt")?;
        pty.until("there are no figures", |pty| pty.line("Domain-0").is_some())?;
        pty.press("h")?;
        pty.until("the other one is still looked at", |pty| {
            pty.line("XENMAN_HOST").is_some() && pty.line("this one").is_none()
        })?;
        pty.press("q")?;
        pty.is_given_back()
    });
}

#[test]
fn it_says_when_its_figures_are_old_and_finds_its_host_again() {
    on_machine(|stage| {
        let socket = format!("unix:{}", stage.file("second.sock").display());
        let serve = || {
            let broker = stage.host.session(["serve", "--listen", &socket]);
            let broker = broker.expect("a broker starts");
            let ready = broker.errors().expect("serving", SOON);
            ready
                .map(|_| broker)
                .map_err(|missing| Trouble(missing.to_string()))
        };
        let mut broker = serve()?;
        let pty = dashboard_with("NO_COLOR=1", &socket)?;
        pty.shows(" s old")?;
        broker.kill();
        pty.shows("STALE")?;
        pty.shows("Trying again")?;
        assert!(!pty.is_coloured(), "colours were not wanted");
        let _again = serve()?;
        pty.until("it does not find its host again", |pty| {
            let text = pty.text();
            !text.contains("STALE") && !text.contains("Trying again") && text.contains("Domain-0")
        })?;
        pty.terminate()?;
        pty.is_given_back()
    });
}
