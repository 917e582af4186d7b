//! Managed domains: definitions that xend keeps, beyond the domains that are started from them and beyond its own life.
//!
//! A definition is a file of the store, `/etc/xen/NAME.cfg` or `NAME.hvm`, byte for byte as its author wrote it, and a
//! record of what it does not say. Both change in one order. What is true here: a name has one definition, and so has a
//! UUID; one that cannot be read any more is kept, and says why; at most one change of a definition is under way.

mod record;
#[cfg(test)]
mod tests;
pub(crate) mod totals;

pub(crate) use record::Record;

use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::store::volume::{Change, File};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use mgmt_proto::blob::BlobId;
use mgmt_proto::config::{ConfigFile, DomainConfig, ImageSource, Policies};
use mgmt_proto::messages::{DomainKind, Totals};

/// Where definitions are in the store.
const FOLDER: &str = "/etc/xen/";

/// Where their records are.
const RECORDS: &str = "/var/lib/xend/domains/";

/// Managed domains at a time.
pub(crate) const DEFINITIONS: usize = 128;

/// The definition of a managed domain.
#[derive(Debug)]
pub(crate) struct Definition {
    pub(crate) path: String,
    /// The configuration as written.
    pub(crate) text: String,
    pub(crate) record: Record,
    /// What it means; or why it cannot be started.
    pub(crate) config: Result<DomainConfig, String>,
}

impl Definition {
    /// Both of its files.
    pub(crate) fn changes(&self, name: &str) -> Vec<Change> {
        vec![
            Change::Put {
                path: self.path.clone(),
                file: File {
                    content: self.text.clone().into_bytes(),
                    blobs: Vec::new(),
                },
            },
            self.record_change(name),
        ]
    }

    /// Its record alone. It refers to the uploaded files, so that the store keeps them.
    fn record_change(&self, name: &str) -> Change {
        let files = self.record.files.iter();
        Change::Put {
            path: record_path(name),
            file: File {
                content: self.record.encode(),
                blobs: files.map(|file| file.blob).collect(),
            },
        }
    }

    /// The uploaded file that it names so under a key.
    pub(crate) fn file(&self, key: &str, source: &ImageSource) -> Option<BlobId> {
        let config = self.config.as_ref().ok()?;
        let is_named = sources(config).any(|it| it == (key, source));
        let mut files = self.record.files.iter().filter(|_| is_named);
        files.find(|file| file.key == key).map(|file| file.blob)
    }

    /// What takes it out of the store.
    pub(crate) fn removal(&self, name: &str) -> Vec<Change> {
        let paths = [self.path.clone(), record_path(name)];
        paths.map(|path| Change::Remove { path }).into()
    }
}

/// Where the definition of a domain is kept: a `*.hvm` is one by its name, or where that says nothing by its type.
pub(crate) fn path_of(name: &str, origin: &str, kind: DomainKind) -> String {
    let says_nothing = !origin.ends_with(".cfg");
    let is_hvm = origin.ends_with(".hvm") || says_nothing && kind == DomainKind::HVM;
    format!("{FOLDER}{name}.{}", if is_hvm { "hvm" } else { "cfg" })
}

/// Where a definition is kept under another name.
pub(crate) fn path_like(path: &str, name: &str) -> String {
    let end = path.rsplit_once('.').map_or("cfg", |(_, end)| end);
    format!("{FOLDER}{name}.{end}")
}

fn record_path(name: &str) -> String {
    format!("{RECORDS}{name}")
}

/// Reads a configuration as it is kept.
pub(crate) fn read(
    path: &str,
    text: &str,
    policies: &Policies,
) -> Result<(String, DomainConfig), String> {
    let file = ConfigFile::parse(path, text).map_err(|error| error.to_string())?;
    let (config, _) = DomainConfig::from_file_with(&file, policies).map_err(|errors| {
        errors
            .first()
            .map_or_else(String::new, |error| error.to_string())
    })?;
    Ok((file.text().to_string(), config))
}

/// The files that a configuration names, by key.
pub(crate) fn sources(config: &DomainConfig) -> impl Iterator<Item = (&'static str, &ImageSource)> {
    let ramdisk = config.ramdisk.iter().map(|source| ("ramdisk", source));
    [("kernel", &config.kernel)].into_iter().chain(ramdisk)
}

/// A change that is on its way to the store.
struct Changing {
    name: String,
    uuid: [u8; 16],
    by: String,
}

/// All managed domains.
pub(crate) struct Managed {
    definitions: BTreeMap<String, Definition>,
    changing: Vec<Changing>,
    /// What runs used that are over, by UUID, before it is in the records.
    owed: BTreeMap<[u8; 16], Totals>,
}

impl Managed {
    /// Those of the store's files, and what is to be said about them.
    pub(crate) fn load(files: &BTreeMap<String, File>, policies: &Policies) -> (Self, Vec<String>) {
        let mut managed = Self {
            definitions: BTreeMap::new(),
            changing: Vec::new(),
            owed: BTreeMap::new(),
        };
        let mut remarks = Vec::new();
        for (path, file) in files {
            if let Some(name) = name_of(path)
                && let Some(remark) = managed.load_one(files, (name, path), &file.content, policies)
            {
                remarks.push(format!("{path}: {remark}"));
            }
        }
        (managed, remarks)
    }

    /// Adds a definition; what is wrong with it.
    fn load_one(
        &mut self,
        files: &BTreeMap<String, File>,
        (name, path): (&str, &str),
        text: &[u8],
        policies: &Policies,
    ) -> Option<String> {
        if let Some(other) = self.definitions.get(name) {
            return Some(format!("'{name}' is defined by {} already", other.path));
        }
        let record = files.get(&record_path(name));
        let record = record.map(|file| Record::decode(&file.content));
        let text = String::from_utf8_lossy(text).into_owned();
        let (record, config) = self.judge((name, path), &text, record, policies);
        let broken = config.as_ref().err().cloned();
        let definition = Definition {
            path: path.into(),
            text,
            record,
            config,
        };
        self.definitions.insert(name.into(), definition);
        broken
    }

    fn judge(
        &self,
        (name, path): (&str, &str),
        text: &str,
        record: Option<Option<Record>>,
        policies: &Policies,
    ) -> (Record, Result<DomainConfig, String>) {
        let config = read(path, text, policies).map(|(_, config)| config);
        let lost = || Record::lost(config.as_ref().ok().and_then(|config| config.uuid));
        let record = match record {
            Some(Some(record)) => record,
            Some(None) => return (lost(), Err("its record is damaged".into())),
            None => return (lost(), Err("its record is missing".into())),
        };
        let config = config.and_then(|config| match self.by_uuid(&record.uuid) {
            _ if config.name != name => Err(format!("it is the one of a '{}'", config.name)),
            Some((other, _)) => Err(format!("'{other}' has the same UUID")),
            None => Ok(config),
        });
        (record, config)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Definition> {
        self.definitions.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Definition)> {
        let all = self.definitions.iter();
        all.map(|(name, definition)| (name.as_str(), definition))
    }

    /// Whether there is room for another one.
    pub(crate) fn has_room(&self) -> bool {
        self.definitions.len().saturating_add(self.changing.len()) < DEFINITIONS
    }

    /// The definition with this UUID.
    pub(crate) fn by_uuid(&self, uuid: &[u8; 16]) -> Option<(&str, &Definition)> {
        self.iter()
            .find(|(_, definition)| definition.record.uuid == *uuid)
    }

    /// Whether a domain belongs to a definition: by its UUID, or as the one that took over its name.
    pub(crate) fn owns<H: Hypervisor>(&self, domain: &Domain<H>) -> bool {
        self.definitions.contains_key(&domain.name) || self.by_uuid(&domain.uuid).is_some()
    }

    /// Who is changing a definition of this name, or with this UUID.
    pub(crate) fn changing(&self, name: &str, uuid: Option<[u8; 16]>) -> Option<&str> {
        let is_it = |change: &&Changing| change.name == name || Some(change.uuid) == uuid;
        let found = self.changing.iter().find(is_it);
        found.map(|change| change.by.as_str())
    }

    /// A change is on its way to the store, of the definition with this UUID and of what has these names.
    pub(crate) fn begin(&mut self, names: &[&str], uuid: [u8; 16], by: &str) {
        let change = |name: &&str| Changing {
            name: (*name).into(),
            uuid,
            by: by.into(),
        };
        self.changing.extend(names.iter().map(change));
    }

    /// It is there, or will not be.
    pub(crate) fn end(&mut self, names: &[&str]) {
        self.changing
            .retain(|change| !names.contains(&change.name.as_str()));
    }

    pub(crate) fn insert(&mut self, name: String, definition: Definition) {
        self.definitions.insert(name, definition);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.definitions.remove(name);
    }

    /// What the earlier runs of the domain with this UUID used.
    pub(crate) fn totals(&self, uuid: &[u8; 16]) -> Option<Totals> {
        let (_, definition) = self.by_uuid(uuid)?;
        let owed = self.owed.get(uuid);
        match (definition.record.totals, owed) {
            (kept, None) => kept,
            (kept, Some(owed)) => {
                let mut all = kept.unwrap_or_default();
                totals::add(&mut all, owed);
                Some(all)
            }
        }
    }

    /// A run of the domain with this UUID is over, and used this.
    pub(crate) fn add(&mut self, uuid: [u8; 16], run: &Totals) {
        if self.by_uuid(&uuid).is_some() {
            totals::add(self.owed.entry(uuid).or_default(), run);
        }
    }

    /// Takes what runs used into their definitions' records, but for those of which another change is on its way, which might
    /// undo that; what is to be kept then.
    pub(crate) fn settle(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, definition) in &mut self.definitions {
            let uuid = definition.record.uuid;
            let mut changing = self.changing.iter();
            if changing.any(|change| change.name == *name || change.uuid == uuid) {
                continue;
            }
            if let Some(run) = self.owed.remove(&uuid) {
                totals::add(definition.record.totals.get_or_insert_default(), &run);
                changes.push(definition.record_change(name));
            }
        }
        let is_defined = |uuid: &[u8; 16]| {
            let mut definitions = self.definitions.values();
            definitions.any(|definition| definition.record.uuid == *uuid)
        };
        self.owed.retain(|uuid, _| is_defined(uuid));
        changes
    }

    /// There is a new store, without any.
    pub(crate) fn clear(&mut self) {
        self.definitions.clear();
        self.owed.clear();
    }
}

/// The name of the domain that a file defines, if it defines one.
fn name_of(path: &str) -> Option<&str> {
    let file = path.strip_prefix(FOLDER)?;
    let name = file.strip_suffix(".cfg").or(file.strip_suffix(".hvm"))?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}
