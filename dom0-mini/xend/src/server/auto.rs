//! Domains of the boot bundle: `auto/*.cfg` and `auto/*.hvm` are created when the machine starts, in the order of their names.
//!
//! Their kernels and ramdisks are members of the bundle, too (`boot:NAME`). One that cannot be created is logged and
//! keeps nobody from starting. A xend that starts anew under running domains creates nothing.

use super::Xend;
use crate::hypervisor::Hypervisor;
use crate::logbook::Level;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use mgmt_proto::messages::{Create, Failure};

/// No client: it holds no blobs.
const NOBODY: u16 = 0;

impl<H: Hypervisor> Xend<H> {
    pub(super) fn create_from_bundle(&mut self) {
        if self.table.iter().next().is_some() {
            return;
        }
        for name in self.automatic() {
            match self.create_automatic(name) {
                Ok(warnings) => {
                    for warning in warnings {
                        self.log_at(Level::Warning, &format!("{name}: {warning}"));
                    }
                }
                Err(failure) => self.log_at(Level::Error, &format!("{name}: {failure}")),
            }
        }
    }

    fn automatic(&self) -> Vec<&'static str> {
        let mut names = self.hypervisor.bundle_names();
        names.retain(|name| name.starts_with("auto/") && is_config(name));
        names.sort_unstable();
        names
    }

    fn create_automatic(&mut self, name: &str) -> Result<Vec<String>, Failure> {
        let file = self.hypervisor.bundle_file(name).unwrap_or_default();
        let create = Create {
            config: String::from_utf8_lossy(file).into_owned(),
            origin: name.to_string(),
            files: Vec::new(),
            paused: false,
        };
        self.begin_build(NOBODY, create)
            .map(|(_, warnings)| warnings)
    }
}

fn is_config(name: &str) -> bool {
    name.ends_with(".cfg") || name.ends_with(".hvm")
}
