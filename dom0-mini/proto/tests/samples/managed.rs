// SPDX-License-Identifier: MIT OR Apache-2.0
//! Samples of what is said about managed domains.

use super::{DIGEST, UUID, summary};
use mgmt_proto::messages::{
    Define, Defined, Definition, DomainFlags, DomainState, DomainSummary, NamedBlob, Redefine,
    Reply, RequestBody, Start,
};

pub(super) fn requests() -> Vec<(&'static str, RequestBody)> {
    let config = || "name = 'web'\nmemory = 64\nkernel = 'boot:Image'\n".to_owned();
    let files = || {
        vec![NamedBlob {
            key: "ramdisk".into(),
            blob: DIGEST,
            length: 9_000_000,
        }]
    };
    vec![
        (
            "new",
            RequestBody::New(Define {
                config: config(),
                origin: "web.hvm".into(),
                files: files(),
            }),
        ),
        (
            "start",
            RequestBody::Start(Start {
                name: "web".into(),
                paused: true,
            }),
        ),
        ("delete", RequestBody::Delete("web".into())),
        ("definition-show", RequestBody::DefinitionShow("web".into())),
        (
            "definition-set",
            RequestBody::DefinitionSet(Redefine {
                name: "web".into(),
                was: DIGEST,
                config: config(),
                files: files(),
            }),
        ),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let off = DomainSummary {
        domid: DomainSummary::NO_DOMID,
        state: DomainState::OFF,
        flags: DomainFlags::MANAGED.with(DomainFlags::BROKEN),
        ..summary()
    };
    vec![
        ("list-off", Reply::List(vec![off])),
        (
            "defined",
            Reply::Defined(Defined {
                name: "web".into(),
                uuid: UUID,
                warnings: vec!["web.hvm:4: unknown key `colour`".into()],
                running: true,
            }),
        ),
        (
            "definition",
            Reply::Definition(Definition {
                name: "web".into(),
                path: "/etc/xen/web.hvm".into(),
                config: "name = 'web'\n".into(),
                changed_by: Some("xenman 0.1.0 on ada".into()),
                changed_ns: Some(1_790_000_000_000_000_000),
                broken: Some("its record is missing".into()),
            }),
        ),
    ]
}
