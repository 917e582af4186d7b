// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every view as it is drawn, compared with files beside this one; `ALCOVE_BLESS=1` writes them.

use super::{COLOURED, key, lines, press, samples, screen, svg};
use crate::top::{
    action::{KnownHost, Machine, Place},
    model::Model,
};
use crossterm::event::KeyCode;
use mgmt_proto::messages::{
    DomainDetail, DomainFlags, DomainState, DomainSummary, DomainUsage, Event, EventKind,
    ImageRole, ImageSummary, NamedCount, Totals, Usage, VcpuSummary, VcpuUsage,
};
use std::{fs, path::PathBuf, time::Duration};

/// Samples before the one that is shown.
const SAMPLES: u64 = 90;

/// A host with a busy Linux, a domain that is paused, and one that is off.
pub(super) fn model() -> Model {
    let mut model = Model::new("qemu-virt (aarch64)".to_owned(), Duration::from_secs(1));
    let mut busy = 0;
    for second in 0..SAMPLES {
        model.tick(Duration::from_secs(second));
        busy += [150, 420, 900, 1500, 1900, 1300, 700, 300][(second / 3 % 8) as usize];
        let domains = [
            ("Domain-0", 0, second * 21),
            ("debian", 1, busy),
            ("rtos-hvm", 2, 700),
        ];
        let mut stats = samples::stats(3600 + second, &domains);
        stats.host.free_kib -= second * 1024;
        let debian = &mut stats.domains[1];
        debian.summary.vcpus = 2;
        debian.vcpus_online = 2;
        debian.summary.memory_kib = 256 << 10;
        debian.summary.flags = DomainFlags::MANAGED;
        debian.exits += second * 1234;
        debian.hypercalls += second * 321;
        stats.domains[2].summary.state = DomainState::PAUSED;
        model.sample(stats);
    }
    model.list(vec![off("web")]);
    model.happened(vec![
        event(3590, 1, "debian", EventKind::CREATED, None),
        event(3600, 3, "web", EventKind::CREATED, None),
        event(3640, 2, "rtos-hvm", EventKind::PAUSED, None),
        event(3671, 3, "web", EventKind::SHUTDOWN, Some("destroy")),
    ]);
    model.journal.take(
        b"[2026-11-23 10:00:00 xend] INFO (xend) domain 1 'debian' created\n\
          [2026-11-23 10:01:21 xend] INFO (xend) domain 3 'web' shutdown: destroy\n",
    );
    model.tick(Duration::from_millis(SAMPLES * 1000 - 600));
    key(&mut model, KeyCode::Down);
    model
}

fn off(name: &str) -> DomainSummary {
    let mut stats = samples::stats(1, &[(name, DomainSummary::NO_DOMID, 0)]);
    let mut summary = stats.domains.remove(0).summary;
    summary.state = DomainState::OFF;
    summary.flags = DomainFlags::MANAGED;
    summary
}

fn event(second: u64, domid: u16, name: &str, kind: EventKind, detail: Option<&str>) -> Event {
    Event {
        time_ns: second * 1_000_000_000,
        domid,
        name: name.to_owned(),
        kind,
        detail: detail.map(str::to_owned),
    }
}

/// What a domain with two vCPUs used: more of the one.
fn used(seconds: u64) -> DomainUsage {
    let ms = (seconds - 3600) * 1000;
    let mut stats = samples::stats(seconds, &[("debian", 1, ms * 3 / 2)]);
    let domain = stats.domains.remove(0);
    let vcpu = |vcpu: u32, cpu_ms: u64| VcpuUsage {
        summary: VcpuSummary {
            domid: 1,
            name: "debian".to_owned(),
            vcpu,
            state: Some(DomainState::RUNNING),
            cpu: vcpu,
            cpu_ns: cpu_ms * 1_000_000,
            affinity: u64::MAX,
        },
        usage: Usage {
            runnable_ns: cpu_ms * 20_000,
            blocked_ns: (ms - cpu_ms) * 980_000,
            ..Usage::default()
        },
    };
    DomainUsage {
        time_ns: stats.host.time_ns,
        domain,
        vcpus: vec![vcpu(0, ms), vcpu(1, ms / 2)],
    }
}

fn detailed() -> Model {
    let mut model = model();
    press(&mut model, "i");
    let summary = model.current().unwrap().summary().clone();
    let count = |name: &str, count| NamedCount {
        name: name.to_owned(),
        count,
    };
    model.show(DomainDetail {
        summary,
        config: "name = \"debian\"\nmemory = 256\nvcpus = 2\n\tkernel = \"store:debian\"\n"
            .to_owned(),
        counters: vec![
            count("exits", 5),
            count("refusals", 3),
            count("xenstore nodes", 41),
        ],
        guest_domid: None,
        totals: Some(Totals {
            runs: 3,
            crashes: 1,
            up_ns: 7_200_000_000_000,
            cpu_ns: 60_000_000_000,
            exits: 1,
            interrupts: 2,
            events: 3,
        }),
    });
    model.used(used(3600 + SAMPLES - 2));
    model.used(used(3600 + SAMPLES - 1));
    model
}

fn image(name: &str, mib: u64) -> ImageSummary {
    ImageSummary {
        name: name.to_owned(),
        description: String::new(),
        arch: "aarch64".to_owned(),
        roles: vec![ImageRole::KERNEL, ImageRole::INITRD],
        length: mib << 20,
        added_ns: None,
    }
}

fn form() -> Model {
    let mut model = model();
    press(&mut model, "a");
    model.images(vec![image("debian", 31), image("tiny", 2)]);
    key(&mut model, KeyCode::Tab);
    press(&mut model, "web");
    model
}

fn saved() -> Model {
    let mut model = model();
    press(&mut model, "m");
    let machine = |label: &str, place: Place, domain: Option<&str>, mib: u64| Machine {
        label: label.to_owned(),
        place,
        domain: domain.map(|name| (name.to_owned(), [7; 16])),
        memory_kib: mib << 10,
        stored_kib: mib << 8,
        saved_ns: Some(1_795_428_000_000_000_000),
    };
    let here = || Place::Here("/saved".into());
    model.saved(vec![
        machine("before-upgrade", Place::Store, Some("debian"), 256),
        machine("web", here(), Some("web"), 64),
        machine("old", here(), None, 0),
    ]);
    model
}

fn hosts() -> Model {
    let mut model = model();
    press(&mut model, "h");
    let host = |name: &str, address: &str| KnownHost {
        name: name.to_owned(),
        address: address.to_owned(),
    };
    model.hosts(vec![
        host("this one", "unix:/run/xend.sock"),
        host("rack7", "serial:/dev/ttyUSB0"),
    ]);
    key(&mut model, KeyCode::Down);
    model
}

fn without_images() -> Model {
    let mut model = model();
    press(&mut model, "a");
    model.images(Vec::new());
    model
}

fn helping() -> Model {
    let mut model = model();
    press(&mut model, "?");
    model
}

/// Compares a text with a committed file, or writes that.
fn is_committed(path: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("ALCOVE_BLESS").is_some() {
        return fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} is not what is drawn; ALCOVE_BLESS=1 writes it anew:\n{text}",
        path.display()
    );
}

fn is_drawn(name: &str, model: &Model) {
    for (width, height) in [(80, 24), (120, 40)] {
        let mut text = lines(model, width, height).join("\n");
        text.push('\n');
        is_committed(
            &format!("src/top/view/screens/{name}-{width}x{height}.txt"),
            &text,
        );
    }
}

#[test]
fn the_table() {
    is_drawn("table", &model());
}

#[test]
fn details() {
    let mut model = detailed();
    is_drawn("detail", &model);
    key(&mut model, KeyCode::End);
    is_drawn("detail-end", &model);
}

#[test]
fn the_form() {
    is_drawn("form", &form());
    is_drawn("form-without-images", &without_images());
}

#[test]
fn saved_machines() {
    is_drawn("saved", &saved());
}

#[test]
fn known_hosts() {
    is_drawn("hosts", &hosts());
}

#[test]
fn all_keys() {
    is_drawn("help", &helping());
}

/// The picture in README.
#[test]
fn the_picture() {
    let terminal = screen(&model(), 100, 30, COLOURED);
    is_committed(
        "../docs/dashboard.svg",
        &svg::picture(terminal.backend().buffer()),
    );
}
