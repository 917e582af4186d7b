//! Who gets how much of which CPU: weights, caps, affinity. Shares are of the machine's own time, in one sample each.

use std::thread;
use std::time::Duration;

use harness::operator::Trouble;
use serde_json::Value;

use crate::linux::{bundled_with, up};
use crate::stage::{Board, LINUX_BOOT, SOON, Stage, contains, on_machine};

static TWO: Board = Board::new(|machine| machine.cpus = 2);
static FOUR: Board = Board::new(|machine| machine.cpus = 4);

/// For how long time is counted: some hundred slices.
const WHILE: Duration = Duration::from_secs(6);

/// What was used of the CPUs up to a moment.
struct Used {
    moment_ns: f64,
    domains: Vec<(String, f64)>,
}

impl Used {
    fn now(stage: &Stage<'_>) -> Result<Self, Trouble> {
        let sample = stage
            .operator
            .json(&["top", "--once", "--interval", "0.1"])?;
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        let domains = sample["domains"].as_array().cloned().unwrap_or_default();
        let of = |domain: &Value| {
            let name = domain["name"].as_str().unwrap_or_default();
            (name.to_owned(), number(&domain["cpu_ns"]))
        };
        Ok(Self {
            moment_ns: number(&sample["host"]["uptime_ns"]),
            domains: domains.iter().map(of).collect(),
        })
    }

    fn of(&self, name: &str) -> f64 {
        let found = self.domains.iter().find(|domain| domain.0 == name);
        found.map_or(f64::NAN, |(_, used)| *used)
    }
}

/// Percent of one CPU that these domains use.
fn shares<const N: usize>(stage: &Stage<'_>, names: [&str; N]) -> Result<[f64; N], Trouble> {
    let before = Used::now(stage)?;
    thread::sleep(WHILE);
    let after = Used::now(stage)?;
    let elapsed = after.moment_ns - before.moment_ns;
    Ok(names.map(|name| 100.0 * (after.of(name) - before.of(name)) / elapsed))
}

fn busy(stage: &Stage<'_>, name: &str, lines: &str) -> Result<(), Trouble> {
    stage.create_small(name, "busy", lines)?;
    stage.operator.says(name, "ok busy", SOON)
}

/// Who had to share its CPU is seen to have waited for it, a slice at a time.
fn waited(stage: &Stage<'_>, name: &str) -> Result<(), Trouble> {
    let info = stage.operator.json(&["info", name])?;
    let usage = &info["usage"];
    let number = |key: &str| usage[key].as_u64().unwrap_or_default();
    assert!(number("runs") > 50, "{usage}");
    assert!(number("runnable_ns") > 1_000_000_000, "{usage}");
    assert!(number("queued_ns") <= number("runnable_ns"), "{usage}");
    assert!(number("longest_queued_ns") > 2_000_000, "{usage}");
    assert!(usage["exits"]["interrupted"].as_u64() > Some(50), "{usage}");
    Ok(())
}

#[test]
fn twice_the_weight_is_twice_the_time() {
    on_machine(by_weight);
}

pub(crate) fn by_weight(stage: &Stage<'_>) -> Result<(), Trouble> {
    busy(stage, "light", "cpu_weight = 256")?;
    busy(stage, "heavy", "cpu_weight = 512")?;
    let [light, heavy] = shares(stage, ["light", "heavy"])?;
    let ratio = heavy / light;
    assert!((1.9..2.1).contains(&ratio), "{light} % and {heavy} %");
    // And the other way round while they run.
    stage.operator.run(&["sched", "light", "-w", "1024"])?;
    stage.operator.run(&["sched", "heavy", "-w", "256"])?;
    let [light, heavy] = shares(stage, ["light", "heavy"])?;
    let ratio = light / heavy;
    assert!((3.8..4.2).contains(&ratio), "{light} % and {heavy} %");
    waited(stage, "light")?;
    waited(stage, "heavy")?;
    stage.do_to("destroy", "light")?;
    stage.do_to("destroy", "heavy")
}

#[test]
fn a_cap_holds_on_an_idle_cpu_too() {
    on_machine(capped);
}

pub(crate) fn capped(stage: &Stage<'_>) -> Result<(), Trouble> {
    busy(stage, "capped", "cap = 25")?;
    let [capped] = shares(stage, ["capped"])?;
    assert!((23.0..27.0).contains(&capped), "{capped} %");
    let sched = stage.operator.json(&["sched", "capped"])?;
    assert_eq!(sched[0]["cap"], 25, "{sched}");
    stage.operator.run(&["sched", "capped", "--cap", "0"])?;
    let [free] = shares(stage, ["capped"])?;
    assert!(free > 90.0, "{free} %");
    stage.operator.run(&["sched", "capped", "--cap", "60"])?;
    busy(stage, "other", "")?;
    let [capped, other] = shares(stage, ["capped", "other"])?;
    assert!((45.0..55.0).contains(&capped), "half is less: {capped} %");
    assert!((45.0..55.0).contains(&other), "{other} %");
    stage.do_to("destroy", "capped")?;
    stage.do_to("destroy", "other")
}

/// The rows of `vcpu-list` of a domain.
fn vcpus(stage: &Stage<'_>, name: &str) -> Result<Vec<Value>, Trouble> {
    let list = stage.operator.json(&["vcpu-list", name])?;
    Ok(list.as_array().cloned().unwrap_or_default())
}

#[test]
fn busy_domains_share_two_cpus_and_stay_where_they_are_pinned() {
    TWO.run(|stage| {
        busy(stage, "one", "")?;
        busy(stage, "two", "")?;
        let [one, two] = shares(stage, ["one", "two"])?;
        assert!(
            one > 90.0 && two > 90.0,
            "each has a CPU: {one} % and {two} %"
        );
        for name in ["one", "two"] {
            stage.operator.run(&["vcpu-pin", name, "all", "1"])?;
        }
        let [one, two] = shares(stage, ["one", "two"])?;
        assert!(
            (45.0..55.0).contains(&one),
            "they share one: {one} % and {two} %"
        );
        assert!(
            (45.0..55.0).contains(&two),
            "they share one: {one} % and {two} %"
        );
        for name in ["one", "two"] {
            let list = vcpus(stage, name)?;
            assert_eq!(
                (&list[0]["cpu"], &list[0]["affinity"]),
                (&1.into(), &[1].into())
            );
        }
        stage.operator.run(&["vcpu-pin", "two", "0", "all"])?;
        let [one, two] = shares(stage, ["one", "two"])?;
        assert!(
            one > 90.0 && two > 90.0,
            "each has a CPU: {one} % and {two} %"
        );
        let refusal = stage.operator.refused(&["vcpu-pin", "one", "0", "5"])?;
        contains(&refusal, &["it has 0-1"]);
        let refusal = stage.operator.refused(&["vcpu-pin", "one", "3", "0"])?;
        contains(&refusal, &["no vCPU 3"]);
        let file = stage.small("nowhere", "busy", "cpus = \"7\"");
        contains(
            &stage.operator.refused(&["create", &file])?,
            &["it has 0-1"],
        );
        stage.do_to("destroy", "one")?;
        stage.do_to("destroy", "two")
    });
}

#[test]
fn a_linux_with_pinned_vcpus_is_saved_restored_and_rebooted() {
    FOUR.run(|stage| {
        let lines = "vcpus = 3\ncpus = [\"1\", \"2-3\", \"0,2\"]\ncpu_weight = 300";
        let mut console = up(stage, "pinned", &bundled_with(stage, "pinned", 128, lines))?;
        let online = "grep -c ^processor /proc/cpuinfo";
        assert_eq!(console.ask_number(online)?, 3);
        drop(console);
        stage.operator.run(&["sched", "pinned", "--cap", "150"])?;
        let saved = stage.file("pinned.save");
        let saved = saved.to_string_lossy();
        let save = ["save", "pinned", &saved];
        stage.operator.run_within(&save, LINUX_BOOT)?;
        let restore = ["restore", &saved];
        stage.operator.run_within(&restore, LINUX_BOOT)?;
        let mut console = stage.operator.console("pinned")?;
        assert_eq!(console.ask_number(online)?, 3);
        stage.do_to("reboot", "pinned")?;
        console.line("GUEST-UP", LINUX_BOOT)?;
        let list = vcpus(stage, "pinned")?;
        let affinities: Vec<&Value> = list.iter().map(|vcpu| &vcpu["affinity"]).collect();
        let wanted: [Value; 3] = [vec![1].into(), vec![2, 3].into(), vec![0, 2].into()];
        assert_eq!(affinities, wanted.iter().collect::<Vec<_>>());
        let sched = stage.operator.json(&["sched", "pinned"])?;
        assert_eq!(
            (&sched[0]["weight"], &sched[0]["cap"]),
            (&300.into(), &150.into())
        );
        stage.do_to("destroy", "pinned")
    });
}
