// SPDX-License-Identifier: MIT OR Apache-2.0
//! One sample of every kind of message, every field in use at least once.

mod images;
mod managed;
mod snapshots;
mod usage;

use mgmt_proto::{
    blob::{Chunk, Digest},
    messages::*,
};
pub(crate) use snapshots::manifest;

const UUID: [u8; 16] = *b"\x6b\xa7\xb8\x10\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8";

const DIGEST: Digest = Digest([0xa5; 32]);

fn debian() -> DomainRef {
    DomainRef::Name("debian".into())
}

fn chunk() -> Chunk {
    Chunk::encode(&[7; 4000])
}

pub(crate) fn clients() -> Vec<(&'static str, ClientMessage)> {
    let client = "xenman 0.1.0".into();
    vec![
        (
            "hello",
            ClientMessage::Hello(Hello {
                version: PROTOCOL_VERSION,
                client,
            }),
        ),
        (
            "repeatable",
            ClientMessage::Request(Request {
                id: 7,
                body: RequestBody::Delete("web".into()),
                token: Some(Token(UUID)),
            }),
        ),
    ]
}

pub(crate) fn servers() -> Vec<(&'static str, ServerMessage)> {
    let failure = Failure::new(ErrorCode::UNKNOWN_DOMAIN, "no domain is called `debain`")
        .with_remedy("did you mean `debian`?");
    let short = Failure::new(ErrorCode::UNSUPPORTED_VERSION, "xend speaks version 1");
    vec![
        (
            "welcome",
            ServerMessage::Welcome(Welcome {
                version: PROTOCOL_VERSION,
                server: "xend 0.1.0".into(),
                board: "qemu-virt".into(),
                arch: "aarch64".into(),
            }),
        ),
        ("refused", ServerMessage::Refused(short)),
        (
            "failed",
            ServerMessage::Response(Response {
                id: 9,
                outcome: Outcome::Failed(failure),
            }),
        ),
        (
            "progress",
            ServerMessage::Progress(Progress {
                id: 9,
                done: 1024,
                total: 262_144,
                what: "KiB of memory".into(),
            }),
        ),
    ]
}

pub(crate) fn requests() -> Vec<(&'static str, RequestBody)> {
    let mut all = host_requests();
    all.extend(domain_requests());
    all.extend(blob_requests());
    all.extend(snapshots::save_requests());
    all.extend(snapshots::restore_requests());
    // Numbers in the files follow the order here: what is new goes to the end.
    all.push(("stats", RequestBody::Stats));
    all.extend(scheduling_requests());
    let settings = || "(loglevel DEBUG)\n".to_owned();
    all.push(("config-set", RequestBody::ConfigSet(settings())));
    all.push(("config-check", RequestBody::ConfigCheck(settings())));
    all.push(("host-init", RequestBody::HostInit(true)));
    all.extend(managed::requests());
    all.extend(images::requests());
    all.push(usage::request());
    all
}

fn scheduling_requests() -> Vec<(&'static str, RequestBody)> {
    vec![
        ("scheduling-list", RequestBody::SchedulingList),
        (
            "scheduling-set",
            RequestBody::SchedulingSet(SetScheduling {
                domain: debian(),
                weight: Some(512),
                cap: Some(150),
            }),
        ),
        ("vcpu-list", RequestBody::VcpuList),
        (
            "vcpu-pin",
            RequestBody::VcpuPin(PinVcpu {
                domain: debian(),
                vcpu: Some(1),
                cpus: 0b1010,
            }),
        ),
    ]
}

fn host_requests() -> Vec<(&'static str, RequestBody)> {
    vec![
        ("info", RequestBody::Info),
        ("list", RequestBody::List),
        ("show", RequestBody::Show(DomainRef::Id(3))),
        (
            "dmesg",
            RequestBody::Dmesg(Follow {
                cursor: None,
                wait_ms: 0,
            }),
        ),
        (
            "log",
            RequestBody::Log(Follow {
                cursor: Some(1 << 40),
                wait_ms: MAX_WAIT_MS,
            }),
        ),
        (
            "events",
            RequestBody::Events(Follow {
                cursor: Some(0),
                wait_ms: 500,
            }),
        ),
        ("config-show", RequestBody::ConfigShow),
        ("host-stop", RequestBody::HostStop(true)),
    ]
}

fn domain_requests() -> Vec<(&'static str, RequestBody)> {
    let files = vec![
        NamedBlob {
            key: "kernel".into(),
            blob: DIGEST,
            length: 30_000_000,
        },
        NamedBlob {
            key: "ramdisk".into(),
            blob: Digest([1; 32]),
            length: 9_000_000,
        },
    ];
    let config = "name = 'debian'\nkernel = 'vmlinuz'\n".into();
    vec![
        (
            "create",
            RequestBody::Create(Create {
                config,
                origin: "debian.cfg".into(),
                files,
                paused: false,
            }),
        ),
        ("pause", RequestBody::Pause(debian())),
        ("unpause", RequestBody::Unpause(debian())),
        (
            "shutdown",
            RequestBody::Shutdown(Shutdown {
                domain: debian(),
                wait_ms: 15_000,
            }),
        ),
        (
            "reboot",
            RequestBody::Reboot(Shutdown {
                domain: DomainRef::Id(3),
                wait_ms: 0,
            }),
        ),
        ("destroy", RequestBody::Destroy(debian())),
        (
            "rename",
            RequestBody::Rename(Rename {
                domain: debian(),
                name: "trixie".into(),
            }),
        ),
        (
            "console-read",
            RequestBody::ConsoleRead(ConsoleRead {
                domain: debian(),
                cursor: Some(4096),
                wait_ms: 10_000,
                max: 16_384,
            }),
        ),
        (
            "console-write",
            RequestBody::ConsoleWrite(ConsoleWrite {
                domain: debian(),
                bytes: b"uname -a\n".to_vec(),
            }),
        ),
    ]
}

fn blob_requests() -> Vec<(&'static str, RequestBody)> {
    vec![
        (
            "blob-open",
            RequestBody::BlobOpen(BlobOpen {
                id: DIGEST,
                length: 30_000_000,
            }),
        ),
        (
            "blob-put",
            RequestBody::BlobPut(BlobPut {
                upload: 1,
                index: 7,
                chunk: chunk(),
            }),
        ),
        ("blob-commit", RequestBody::BlobCommit(1)),
        ("blob-abort", RequestBody::BlobAbort(2)),
        ("blob-release", RequestBody::BlobRelease(DIGEST)),
        ("blob-list", RequestBody::BlobList),
    ]
}

fn summary() -> DomainSummary {
    DomainSummary {
        domid: 3,
        name: "debian".into(),
        uuid: UUID,
        kind: DomainKind::PVH,
        state: DomainState::BLOCKED,
        vcpus: 2,
        memory_kib: 262_144,
        cpu_ns: 1_234_567_890,
        age_ns: 60_000_000_000,
        flags: DomainFlags::SAVING.with(DomainFlags::SHUTTING_DOWN),
    }
}

fn info() -> HostInfo {
    HostInfo {
        total_kib: 2_097_152,
        free_kib: 1_800_000,
        hypervisor_kib: 5_000,
        dom0_kib: 24_576,
        boot_kib: 1_000,
        store_kib: 4_432,
        domains_kib: 262_144,
        cpus: 1,
        arch: "aarch64".into(),
        board: "qemu-virt".into(),
        uptime_ns: 90_000_000_000,
        hypervisor: "Alcove 0.1.0".into(),
        xend: "xend 0.1.0".into(),
        boot_phases: vec![BootPhase {
            name: "memory".into(),
            duration_ns: 300_000,
        }],
        heap_used: 3_000_000,
        heap_size: 16_000_000,
        domains: 2,
        wall_clock_ns: Some(1_790_000_000_000_000_000),
        virtualization: None,
        store: None,
    }
}

fn scheduling_replies() -> Vec<(&'static str, Reply)> {
    let domain = DomainScheduling {
        domid: 3,
        name: "debian".into(),
        weight: 512,
        cap: 150,
    };
    let vcpu = VcpuSummary {
        domid: 3,
        name: "debian".into(),
        vcpu: 1,
        state: Some(DomainState::RUNNING),
        cpu: 2,
        cpu_ns: 1_500_000_000,
        affinity: 0b1100,
    };
    vec![
        ("scheduling", Reply::Scheduling(vec![domain])),
        ("vcpus", Reply::Vcpus(vec![vcpu])),
    ]
}

fn stats() -> Stats {
    let domain = DomainStats {
        summary: summary(),
        vcpus_online: 1,
        exits: 70_000,
        hypercalls: 60_000,
        refusals: 5,
        usage: None,
    };
    Stats {
        host: HostStats {
            time_ns: 90_000_000_000,
            cpus: 2,
            idle_ns: 170_000_000_000,
            total_kib: 2_097_152,
            free_kib: 1_800_000,
            hypervisor_kib: 5_000,
            dom0_kib: 24_576,
            boot_kib: 1_000,
            store_kib: 4_432,
            domains_kib: 262_144,
            hypervisor_log_bytes: None,
            xend_log_bytes: None,
        },
        domains: vec![domain],
    }
}

pub(crate) fn replies() -> Vec<(&'static str, Reply)> {
    let mut all = host_replies();
    all.extend(domain_replies());
    all.extend(blob_replies());
    all.extend(snapshots::replies());
    // Numbers in the files follow the order here: what is new goes to the end.
    all.push(("stats", Reply::Stats(stats())));
    all.extend(scheduling_replies());
    let virtualization = Some("Intel VMX".into());
    let info = HostInfo {
        virtualization,
        ..info()
    };
    all.push(("info-virtualization", Reply::Info(info)));
    all.push(("info-store", Reply::Info(info_with_store())));
    all.push((
        "remarks",
        Reply::Remarks(vec![Remark {
            is_error: true,
            text: "xend-config.sxp:1:11: error: loglevel cannot be `LOUD`".into(),
        }]),
    ));
    let mut info = info_with_store();
    info.store = Some(Box::new(StoreInfo {
        place: StorePlace::DISK,
        size_kib: 65_536,
        reason: None,
        free_kib: Some(48_000),
    }));
    all.push(("info-disk", Reply::Info(info)));
    all.extend(managed::replies());
    all.extend(images::replies());
    all.extend(usage::replies());
    all
}

fn info_with_store() -> HostInfo {
    HostInfo {
        store: Some(Box::new(StoreInfo {
            place: StorePlace::RESCUE,
            size_kib: 65_536,
            reason: Some("the store on the disk is damaged: its superblock".into()),
            free_kib: None,
        })),
        ..info()
    }
}

fn host_replies() -> Vec<(&'static str, Reply)> {
    let event = Event {
        time_ns: 61_000_000_000,
        domid: 3,
        name: "debian".into(),
        kind: EventKind::CRASHED,
        detail: Some("triple fault".into()),
    };
    vec![
        ("done", Reply::Done),
        ("info", Reply::Info(info())),
        ("list", Reply::List(vec![summary()])),
        (
            "text",
            Reply::Text(TextChunk {
                next: 900,
                lost: 3,
                text: b"boot: hello\n".to_vec(),
            }),
        ),
        (
            "events",
            Reply::Events(Events {
                next: 5,
                lost: 0,
                events: vec![event],
            }),
        ),
    ]
}

fn domain_replies() -> Vec<(&'static str, Reply)> {
    let counters = vec![NamedCount {
        name: "unknown hypercalls".into(),
        count: 2,
    }];
    let detail = DomainDetail {
        summary: summary(),
        config: "name = 'debian'\n".into(),
        counters,
        guest_domid: Some(1),
        totals: None,
    };
    let warnings = vec!["debian.cfg:4: unknown key `colour`".into()];
    vec![
        ("domain", Reply::Domain(detail)),
        (
            "created",
            Reply::Created(Created {
                domid: 3,
                name: "debian".into(),
                warnings,
            }),
        ),
        (
            "console",
            Reply::Console(ConsoleChunk {
                next: 80,
                lost: 0,
                ended: true,
                bytes: b"login: ".to_vec(),
            }),
        ),
        ("written", Reply::Written(Written { count: 9 })),
    ]
}

fn blob_replies() -> Vec<(&'static str, Reply)> {
    let blob = BlobSummary {
        id: DIGEST,
        length: 30_000_000,
        stored_kib: 29_297,
        references: 2,
    };
    vec![
        (
            "blob",
            Reply::Blob(BlobState {
                present: false,
                upload: Some(1),
            }),
        ),
        ("held", Reply::Held(BlobHeld { id: DIGEST })),
        ("blobs", Reply::Blobs(vec![blob])),
    ]
}
