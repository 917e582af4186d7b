// SPDX-License-Identifier: MIT OR Apache-2.0
//! Verbs, messages and exit statuses, as an operator or a script meets them.

use crate::fake::{Host, Said, xenman};
use mgmt_proto::messages::{ErrorCode, Failure};
use std::{
    os::unix::net::UnixListener,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

fn alone(words: &str) -> Said {
    let folder = tempfile::tempdir().unwrap();
    Said::of(
        xenman(folder.path(), words)
            .stdin(Stdio::null())
            .output()
            .unwrap(),
    )
}

#[test]
fn wrong_usage_is_status_2_and_unreachable_3() {
    alone("list").failed(2, "which host?");
    alone("-H nowhere list").failed(2, "is not a host");
    alone("-H tcp:h:1 list").failed(2, "network");
    alone("lst").failed(2, "did you mean 'list'?");
    alone("pause").failed(2, "pause: <domain> is missing\n  help: write xenman pause ");
    alone("pause a b").failed(2, "'b' is an argument too many");
    alone("create").failed(2, "'xenman create --help' explains it");
    alone("list -H").failed(2, "-H needs a host");
    alone("-H unix:/nonexistent list").failed(3, "cannot reach xend");
    alone("serve -H unix:/nonexistent --listen here").failed(2, "--listen unix:PATH");
    let nothing = alone("");
    assert_eq!(nothing.status, Some(2));
    assert!(nothing.err.contains("Usage: xenman"), "{nothing:?}");
    assert!(
        alone("create --help")
            .done()
            .out
            .contains("configuration file")
    );
}

#[test]
fn causes_of_silence_are_told_as_the_guide_has_them() {
    let guide = include_str!("../../../docs/guide/errors.md");
    let folder = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(folder.path().join("left.sock")).unwrap());
    for (socket, cause) in [
        ("nothing.sock", "the socket is not there"),
        ("left.sock", "nobody listens on the socket any more"),
    ] {
        let words = format!("-H unix:{socket} list");
        Said::of(xenman(folder.path(), &words).output().unwrap()).failed(3, cause);
        assert!(guide.contains(&format!("*{cause}*")), "{cause}");
    }
}

#[test]
fn lists_domains() {
    let host = Host::start();
    let list = host.run("list --json").done().json();
    assert_eq!(
        list[1],
        serde_json::json!({
            "domid": 3, "name": "debian", "uuid": "03030303-0303-0303-0303-030303030303", "type": "pvh",
            "state": "blocked", "vcpus": 1, "memory_kib": 65536, "cpu_ns": 1_500_000_000u64,
            "managed": false, "broken": false,
        })
    );
    let text = host.run("list").done().out;
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0],
        ["Name", "ID", "Type", "Mem", "VCPUs", "State", "Time(s)"]
    );
    assert_eq!(
        lines[2],
        ["debian", "3", "pvh", "64", "1", "blocked", "1.5"]
    );
    assert_eq!(
        host.run("list debian --json")
            .done()
            .json()
            .as_array()
            .unwrap()
            .len(),
        1
    );
    host.run("list debain").failed(1, "did you mean 'debian'?");
    assert_eq!(host.run("domid debian").done().out, "3\n");
    assert_eq!(host.run("domname 3").done().out, "debian\n");
    host.run("domname 77")
        .failed(1, "no domain with the number 77");
}

#[test]
fn info_adds_up() {
    let host = Host::start();
    let info = host.run("--json info").done().json();
    let parts = [
        "free_kib",
        "hypervisor_kib",
        "dom0_kib",
        "boot_kib",
        "store_kib",
        "domains_kib",
    ];
    let sum: u64 = parts.iter().map(|part| info[part].as_u64().unwrap()).sum();
    assert_eq!(info["total_kib"], sum);
    let text = host.run("info").done().out;
    assert!(
        text.contains("virtualization ARM EL2")
            && text.contains("memory         2048 MiB")
            && text.contains("1.234 ms  frames"),
        "{text}"
    );
}

#[test]
fn info_of_a_domain_shows_what_it_used() {
    let host = Host::start();
    let text = host.run("info debian").done().out;
    for line in [
        "vCPU 0                  ran 1.5 s, waited for a CPU 0.0 s, for events 0.4 s",
        "scheduling latency      12.340 us on average, 98.765 us at most",
        "exits: architecture     700",
        "interrupts              120",
        "earlier runs            12, 1 of them ended with a crash",
        "used by them            360.0 s of CPUs in 86400.0 s",
    ] {
        assert!(text.lines().any(|it| it == line), "{line}\n{text}");
    }
    let usage = &host.run("info debian --json").json()["usage"];
    assert_eq!(usage["exits"]["hypercalls"], 400, "a sample later");
    assert_eq!(usage["vcpus"][0]["runnable_ns"], 1_500_000);
}

#[test]
fn info_of_a_domain_shows_what_was_refused_to_it() {
    let host = Host::start();
    let text = host.run("info debian").done().out;
    let words: Vec<&str> = text.split_whitespace().collect();
    for line in [["name", "debian"], ["calls", "3"]] {
        assert!(words.windows(2).any(|pair| pair == line), "{text}");
    }
    let shown = host.run("info debian --json").done().json();
    assert_eq!(shown["counters"]["refused calls"], 3);
    host.run("info debain").failed(1, "did you mean 'debian'?");
}

#[test]
fn logs_are_read_to_their_end_and_followed() {
    let host = Host::start();
    assert_eq!(host.run("log").done().out, "xend: started\nxend: ready\n");
    assert_eq!(
        host.run("dmesg --json").done().json()["text"],
        "xend: started\nxend: ready\n"
    );
    let mut child = host
        .command("log -f")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    host.state().log.extend_from_slice(b"xend: more\n");
    thread::sleep(Duration::from_millis(300));
    child.kill().unwrap();
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.out, "xend: started\nxend: ready\nxend: more\n");
}

#[test]
fn simple_verbs_do_what_they_say() {
    let host = Host::start();
    host.run("pause debian").done();
    assert_eq!(host.run("list --json").json()[1]["state"], "paused");
    host.run("unpause 3").done();
    host.run("rename debian wheezy").done();
    host.run("rename debian 12").failed(1, "numbers are domids");
    host.run("reboot debian").done();
    host.run("pause nobody")
        .failed(1, "there is no domain 'nobody'");
    host.run("shutdown").failed(2, "name a domain");
    host.run("shutdown debian -a").failed(2, "not both");
    let start = Instant::now();
    host.run("shutdown -a -w").done();
    assert!(start.elapsed() >= Duration::from_millis(100));
    assert_eq!(host.run("list --json").json().as_array().unwrap().len(), 1);
    host.run("destroy debian")
        .failed(1, "help: 'xenman list' shows");
    let refused = host.run("destroy debian --json");
    assert_eq!(refused.json()["error"]["code"], "unknown-domain");
}

#[test]
fn snapshots_are_listed() {
    let host = Host::start();
    assert_eq!(
        host.run("snapshot list --json").done().json()[0]["label"],
        "evening"
    );
    assert!(host.run("snapshot list").done().out.contains("2560 KiB"));
    host.run("snapshot delete evening").done();
    host.run("snapshot delete morning")
        .failed(1, "no snapshot has this label");
}

#[test]
fn a_protocol_version_from_the_future_is_refused_with_the_hosts_words() {
    let host = Host::start();
    host.state().refuse_hello = Some(
        Failure::new(ErrorCode::UNSUPPORTED_VERSION, "this xend speaks version 9")
            .with_remedy("use a later xenman"),
    );
    host.run("list")
        .failed(1, "this xend speaks version 9\n  help: use a later xenman");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let host = Host::start();
    host.state().log = b"line\n".repeat(40_000)[..20_000].to_vec();
    let mut child = host
        .command("log")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""));
}

#[test]
fn a_broker_passes_it_all_on_and_cleans_up() {
    let host = Host::start();
    let socket = host.path("broker.sock");
    let mut broker = host
        .command("serve --listen")
        .arg(format!("unix:{}", socket.display()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let give_up = Instant::now() + Duration::from_secs(10);
    while !socket.exists() {
        assert!(Instant::now() < give_up);
        thread::sleep(Duration::from_millis(10));
    }
    let through = format!("-H unix:{} domid debian", socket.display());
    assert_eq!(host.run(&through).done().out, "3\n");
    std::process::Command::new("kill")
        .arg(broker.id().to_string())
        .status()
        .unwrap();
    assert!(broker.wait().unwrap().success());
    assert!(!socket.exists());
}

#[test]
fn one_sample_is_printed_for_scripts_and_people() {
    let host = Host::start();
    let sample = host.run("top --once --json --interval 0.1").done().json();
    assert_eq!(sample["host"]["cpu_percent"], 100.0);
    let mut debian = sample["domains"][1].clone();
    let usage = debian.as_object_mut().unwrap().remove("usage").unwrap();
    assert_eq!(
        (&usage["interrupts"], &usage["exits"]["idle"]),
        (&240.into(), &200.into())
    );
    assert_eq!(
        debian,
        serde_json::json!({
            "domid": 3, "name": "debian", "uuid": "03030303-0303-0303-0303-030303030303", "type": "pvh",
            "state": "blocked", "vcpus": 1, "vcpus_online": 1, "memory_kib": 65536,
            "uptime_ns": 2_000_000_000u64, "cpu_ns": 1_000_000_000u64, "cpu_percent": 50.0,
            "exits": 2000, "exits_per_s": 1000.0, "hypercalls": 400, "hypercalls_per_s": 200.0, "refusals": 3,
        })
    );
    let text = host.run("top --once --interval 0.1").done().out;
    let line = text.lines().last().unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "debian", "3", "pvh", "blocked", "50.0", "64", "1", "1000", "4s"
        ]
    );
    assert!(text.starts_with("up 4s, 1 CPU, 100.0% busy, "), "{text}");
}

#[test]
fn a_dashboard_without_a_terminal_is_refused() {
    alone("top").failed(2, "needs a terminal");
    alone("top --json").failed(2, "--once --json");
    alone("top --once --interval 0").failed(2, "interval");
    alone("top --once").failed(2, "which host?");
}

#[test]
fn shows_and_changes_what_domains_may_use() {
    let host = Host::start();
    let rows = |text: String| -> Vec<String> {
        let lines = text.lines();
        lines
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect()
    };
    let all = rows(host.run("sched").done().out);
    assert_eq!(all[..2], ["Name ID Weight Cap", "Domain-0 0 256 none"]);
    assert_eq!(all[2], "debian 3 256 30%");
    let one = host.run("sched debian --json").done().json();
    let expected = serde_json::json!([{ "domid": 3, "name": "debian", "weight": 256, "cap": 30 }]);
    assert_eq!(one, expected);
    host.run("sched debian -w 512 -c 50").done();
    host.run("sched --weight 512").failed(2, "name it");
    host.run("sched debain").failed(1, "did you mean 'debian'?");
    host.run("sched debain -w 1")
        .failed(1, "did you mean 'debian'?");
}

#[test]
fn lists_and_pins_virtual_cpus() {
    let host = Host::start();
    let list = host.run("vcpu-list --json debian").done().json();
    assert_eq!(
        list,
        serde_json::json!([{
            "domid": 3, "name": "debian", "vcpu": 0, "state": "blocked", "cpu": 1, "cpu_ns": 1_500_000_000u64,
            "affinity": [1, 3],
        }])
    );
    let text = host.run("vcpu-list").done().out;
    assert!(text.contains("Affinity") && text.contains("1,3"), "{text}");
    host.run("vcpu-list 77").failed(1, "there is no domain");
    host.run("vcpu-pin debian all 0-2,^1").done();
    host.run("vcpu-pin debian 0 all").done();
    host.run("vcpu-pin debian zero 1")
        .failed(2, "is not a vCPU");
    host.run("vcpu-pin debian 0 x")
        .failed(2, "is not a set of CPUs");
    host.run("vcpu-pin debain 0 1")
        .failed(1, "did you mean 'debian'?");
}

#[test]
fn xends_configuration_is_shown_set_and_checked() {
    let host = Host::start();
    assert_eq!(
        host.run("config show").done().out,
        "(loglevel INFO)\n(default-bridge br7)\n"
    );
    let file = |name: &str, text: &str| host.write(name, text).display().to_string();
    let good = file("good.sxp", "(loglevel DEBUG)\n(vnc-listen x)\n");
    let bad = file("bad.sxp", "(loglevel LOUD)\n");
    let set = host.run(&format!("config set {good}")).done();
    assert_eq!(set.out, "xend has a new configuration\n");
    assert!(set.err.contains("about (vnc-listen x)"), "{set:?}");
    host.run(&format!("config set {bad}"))
        .failed(1, "error: loglevel");
    host.run("config set /nonexistent.sxp")
        .failed(1, "cannot read /nonexistent.sxp");
    let check = host
        .run(&format!("config check {good} --json"))
        .done()
        .json();
    assert_eq!(check["remarks"][0]["error"], false);
    host.run(&format!("config check {bad}"))
        .failed(1, "1 errors");
}

#[test]
fn the_store_is_shown_and_made() {
    let host = Host::start();
    let text = host.run("info").done().out;
    let line = text.lines().find(|line| line.starts_with("store")).unwrap();
    assert!(
        line.contains("in memory; the disk of 64 MiB is not written to: there is"),
        "{line}"
    );
    assert_eq!(
        host.run("info --json").done().json()["store"]["place"],
        "rescue"
    );
    host.run("host init").failed(1, "has a store already");
    host.run("host init --force").done();
}
