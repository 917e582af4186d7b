// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the fake xend makes domains, and keeps their definitions.

use super::{State, summary, unknown};
use mgmt_proto::{
    blob::Digest,
    config::{ConfigFile, DomainConfig},
    messages::*,
};

impl State {
    pub(super) fn create(&mut self, create: &Create) -> Result<Reply, Failure> {
        let file = ConfigFile::parse(&create.origin, &create.config).unwrap();
        let (config, warnings) = DomainConfig::from_file(&file).unwrap();
        if self.domains.iter().any(|domain| domain.name == config.name) {
            let message = format!("a domain '{}' is there already", config.name);
            return Err(
                Failure::new(ErrorCode::NAME_IN_USE, message).with_remedy("choose another name")
            );
        }
        assert!(
            create
                .files
                .iter()
                .all(|file| self.blobs[&file.blob].len() as u64 == file.length)
        );
        self.created.push(create.clone());
        self.domains.push(summary(5, &config.name, DomainKind::PVH));
        let warnings = warnings
            .iter()
            .map(ToString::to_string)
            .chain(["xend has something to say".into()])
            .collect();
        Ok(Reply::Created(Created {
            domid: 5,
            name: config.name,
            warnings,
        }))
    }

    pub(super) fn define(&mut self, define: &Define) -> Reply {
        let file = ConfigFile::parse(&define.origin, &define.config).unwrap();
        let (config, _) = DomainConfig::from_file(&file).unwrap();
        let off = DomainSummary {
            domid: DomainSummary::NO_DOMID,
            state: DomainState::OFF,
            flags: DomainFlags::MANAGED,
            ..summary(9, &config.name, config.kind)
        };
        self.domains.push(off);
        self.defined.insert(config.name.clone(), define.clone());
        Reply::Defined(Defined {
            name: config.name,
            uuid: [9; 16],
            warnings: Vec::new(),
            running: false,
        })
    }

    pub(super) fn start(&mut self, start: &Start) -> Result<Reply, Failure> {
        self.find(&DomainRef::Name(start.name.clone()))?;
        self.domains.retain(|domain| domain.name != start.name);
        self.domains.push(summary(6, &start.name, DomainKind::PVH));
        Ok(Reply::Created(Created {
            domid: 6,
            name: start.name.clone(),
            warnings: Vec::new(),
        }))
    }

    pub(super) fn definition(&mut self, name: &str) -> Result<Reply, Failure> {
        let define = self.defined.get(name).ok_or_else(unknown)?;
        Ok(Reply::Definition(Definition {
            name: name.to_owned(),
            path: format!("/etc/xen/{name}.cfg"),
            config: define.config.clone(),
            changed_by: Some("xenman on ada".to_owned()),
            changed_ns: None,
            broken: None,
        }))
    }

    pub(super) fn redefine(&mut self, redefine: &Redefine) -> Result<Reply, Failure> {
        let define = self.defined.get_mut(&redefine.name).ok_or_else(unknown)?;
        if let Some(by) = &self.faster {
            let sentence = format!("the definition was changed meanwhile, by {by}");
            return Err(Failure::new(ErrorCode::BUSY, sentence).with_remedy("look at it again"));
        }
        assert_eq!(redefine.was, Digest::of_chunk(define.config.as_bytes()));
        define.config = redefine.config.clone();
        define.files = redefine.files.clone();
        Ok(Reply::Defined(Defined {
            name: redefine.name.clone(),
            uuid: [9; 16],
            warnings: Vec::new(),
            running: true,
        }))
    }
}
