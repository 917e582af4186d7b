//! The nodes a new domain finds in xenstore, as Xen's tools make them (docs/misc/xenstore-paths.pandoc).
//!
//! Paths are in terms of this host, values in terms of the guest. The guest may read its home, and owns the few nodes
//! it is to write to.

use crate::xenstore::{Access, Errno, Permissions, Xenstore};
use alloc::string::{String, ToString};
use alloc::{format, vec::Vec};
use mgmt_proto::config::uuid_text;

use crate::backend::GuestPorts;
use crate::platform::Places;

/// What the nodes say.
pub(crate) struct Facts<'a> {
    pub(crate) domid: u16,
    pub(crate) guest_domid: u16,
    pub(crate) name: &'a str,
    pub(crate) uuid: [u8; 16],
    pub(crate) memory_kib: u64,
    pub(crate) vcpus: u32,
    pub(crate) ports: GuestPorts,
    pub(crate) places: &'static Places,
}

/// The request to reboot.
pub(crate) const REBOOT: &str = "reboot";

/// The home of a domain.
pub(crate) fn home(domid: u16) -> String {
    format!("/local/domain/{domid}")
}

/// Where xend asks a domain to shut down or reboot.
pub(crate) fn shutdown_request(domid: u16) -> String {
    format!("/local/domain/{domid}/control/shutdown")
}

/// Where a guest says that it listens to such a request.
pub(crate) fn shutdown_feature(domid: u16, request: &str) -> String {
    format!("/local/domain/{domid}/control/feature-{request}")
}

/// The node that describes a machine independently of its domid.
pub(crate) fn machine(uuid: &[u8; 16]) -> String {
    format!("/vm/{}", uuid_text(uuid))
}

/// Nodes the guest writes to.
const ITS_OWN: [&str; 9] = [
    "control/shutdown",
    "control/feature-poweroff",
    "control/feature-reboot",
    "control/feature-suspend",
    "control/sysrq",
    "data",
    "drivers",
    "attr",
    "error",
];

/// Creates a domain's nodes.
pub(crate) fn create(xenstore: &mut Xenstore, facts: &Facts<'_>) -> Result<(), Errno> {
    let home = home(facts.domid);
    let readable = || Permissions::shared_with(facts.domid, Access::Read);
    remove(xenstore, &home)?;
    xenstore.mkdir(&home)?;
    xenstore.set_permissions(&home, readable())?;
    for (path, value) in values(facts) {
        xenstore.write(&format!("{home}/{path}"), value.as_bytes())?;
    }
    for path in ITS_OWN {
        let path = format!("{home}/{path}");
        xenstore.mkdir(&path)?;
        xenstore.set_permissions(&path, Permissions::private(facts.domid))?;
    }
    xenstore.mkdir(&format!("{home}/device"))?;
    create_machine(xenstore, facts)
}

/// Makes sure that there is nothing at `path`.
pub(crate) fn remove(xenstore: &mut Xenstore, path: &str) -> Result<(), Errno> {
    if xenstore.read(path).is_none() {
        return Ok(());
    }
    xenstore.rm(path)
}

/// Creates the node of a domain's machine.
pub(crate) fn create_machine(xenstore: &mut Xenstore, facts: &Facts<'_>) -> Result<(), Errno> {
    let machine = machine(&facts.uuid);
    xenstore.mkdir(&machine)?;
    let readable = Permissions::shared_with(facts.domid, Access::Read);
    xenstore.set_permissions(&machine, readable)?;
    xenstore.write(&format!("{machine}/name"), facts.name.as_bytes())?;
    xenstore.write(
        &format!("{machine}/uuid"),
        uuid_text(&facts.uuid).as_bytes(),
    )
}

fn values(facts: &Facts<'_>) -> Vec<(String, String)> {
    let mut values: Vec<(String, String)> = [
        ("name", facts.name.to_string()),
        ("domid", facts.guest_domid.to_string()),
        ("vm", machine(&facts.uuid)),
        ("memory/target", facts.memory_kib.to_string()),
        ("memory/static-max", facts.memory_kib.to_string()),
        ("console/backend-id", "0".into()),
        ("console/ring-ref", facts.places.console_gfn.to_string()),
        ("console/port", facts.ports.console.to_string()),
        (
            "console/limit",
            crate::console::SCROLLBACK_BYTES.to_string(),
        ),
        ("console/type", "xenconsoled".into()),
        ("store/ring-ref", facts.places.xenstore_gfn.to_string()),
        ("store/port", facts.ports.xenstore.to_string()),
    ]
    .into_iter()
    .map(|(path, value)| (path.to_string(), value))
    .collect();
    let cpus = (0..facts.vcpus).map(|cpu| (format!("cpu/{cpu}/availability"), "online".into()));
    values.extend(cpus);
    values
}

#[cfg(test)]
mod tests {
    use super::{Facts, create, machine, shutdown_feature};
    use crate::backend::GuestPorts;
    use crate::xenstore::Xenstore;

    #[test]
    fn a_domain_finds_itself_in_its_own_terms() {
        let mut xenstore = Xenstore::default();
        let facts = Facts {
            domid: 7,
            guest_domid: 3,
            name: "guest",
            uuid: [0x11; 16],
            memory_kib: 131_072,
            vcpus: 2,
            ports: GuestPorts {
                console: 4,
                xenstore: 5,
            },
            places: crate::platform::Architecture::Arm64.places(),
        };
        create(&mut xenstore, &facts).unwrap();
        let read = |path: &str| {
            xenstore
                .read_text(&std::format!("/local/domain/7/{path}"))
                .unwrap()
        };
        assert_eq!((read("name"), read("domid")), ("guest", "3"));
        assert_eq!(read("memory/target"), "131072");
        assert_eq!((read("console/port"), read("store/port")), ("4", "5"));
        assert_eq!(read("cpu/1/availability"), "online");
        assert_eq!(read("vm"), machine(&[0x11; 16]));
        let feature = shutdown_feature(7, "poweroff");
        assert_eq!(xenstore.permissions(&feature).unwrap().owner, 7);
        let home = xenstore.permissions("/local/domain/7").unwrap();
        assert_eq!((home.owner, home.exceptions.len()), (0, 1));
        xenstore.verify().unwrap();
    }
}
