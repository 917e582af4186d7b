//! Who may depend on whom, from `cargo metadata`.

use std::collections::BTreeSet;

use serde_json::Value;

/// What each package of ours may depend on among our packages. What is not listed may not be.
const LAW: [(&str, &[&str]); 13] = [
    (
        "arch-aarch64",
        &["arch-common", "boards", "hv-abi", "hv-common"],
    ),
    ("arch-common", &["hv-abi", "hv-common"]),
    (
        "arch-x86_64",
        &["arch-common", "boards", "hv-abi", "hv-common"],
    ),
    ("boards", &[]),
    ("dom0-mini", &["hv-abi", "mgmt-proto", "xend"]),
    ("guests", &["hv-abi"]),
    ("hv-abi", &[]),
    ("hv-common", &["hv-abi"]),
    ("hv-tests", &["boards", "hv-abi", "mgmt-proto"]),
    ("mgmt-proto", &[]),
    ("xend", &["hv-abi", "mgmt-proto"]),
    ("xenman-lite", &["mgmt-proto"]),
    ("xtask", &["boards", "hv-tests"]),
];

/// The packages that make up the hypervisor images.
const HYPERVISOR: [&str; 6] = [
    "arch-aarch64",
    "arch-common",
    "arch-x86_64",
    "boards",
    "hv-abi",
    "hv-common",
];

/// What the hypervisor images may use. Each has a line in docs/architecture.md; a new one needs a design record.
const HYPERVISOR_MAY_USE: [&str; 27] = [
    "aarch64-cpu",
    "aarch64-paging",
    "acpi",
    "arm-gic",
    "arm-pl011-uart",
    "arrayvec",
    "bitfield-struct",
    "bitflags",
    "dtoolkit",
    "embedded-io",
    "fdt",
    "heapless",
    "iced-x86",
    "intrusive-collections",
    "log",
    "multiboot2",
    "raw-cpuid",
    "safe-mmio",
    "smccc",
    "spin",
    "talc",
    "tock-registers",
    "uart_16550",
    "x2apic",
    "x86",
    "x86_64",
    "zerocopy",
];

/// What must not reach the hypervisor images even through another crate.
const NEVER_IN_HYPERVISOR: [&str; 5] = ["cobs", "lz4_flex", "mgmt-proto", "minicbor", "xend"];

/// Who may speak CBOR.
const MAY_USE_MINICBOR: [&str; 5] = ["dom0-mini", "hv-tests", "mgmt-proto", "xend", "xenman-lite"];

/// Every way in which the graph breaks the law.
pub(super) fn violations(metadata: &Value) -> Vec<String> {
    let ours: Vec<_> = array(metadata, "packages")
        .filter(|package| package["source"].is_null())
        .collect();
    let names: BTreeSet<&str> = ours.iter().map(|package| text(package, "name")).collect();
    let mut found = Vec::new();
    for package in &ours {
        edges(package, &names, &mut found);
    }
    for image in ["arch-aarch64", "arch-x86_64"] {
        closure(metadata, image, &mut found);
    }
    found
}

fn edges(package: &Value, ours: &BTreeSet<&str>, found: &mut Vec<String>) {
    let name = text(package, "name");
    let Some((_, may)) = LAW.iter().find(|(known, _)| *known == name) else {
        found.push(format!(
            "{name} is not in the dependency law; see docs/style.md"
        ));
        return;
    };
    for dependency in array(package, "dependencies") {
        let other = text(dependency, "name");
        if ours.contains(other) {
            if other != name && !may.contains(&other) {
                found.push(format!("{name} must not depend on {other}"));
            }
        } else if dependency["kind"].is_null() {
            external(name, other, found);
        }
    }
}

fn external(name: &str, other: &str, found: &mut Vec<String>) {
    if HYPERVISOR.contains(&name) && !HYPERVISOR_MAY_USE.contains(&other) {
        found.push(format!(
            "{name} uses {other}, which the hypervisor may not (design record?)"
        ));
    }
    if other == "minicbor" && !MAY_USE_MINICBOR.contains(&name) {
        found.push(format!(
            "{name} uses minicbor; only mgmt-proto and those above it may"
        ));
    }
}

/// Follows an image's ordinary dependencies to all that is linked into it.
fn closure(metadata: &Value, image: &str, found: &mut Vec<String>) {
    let name_of = |id: &str| {
        let package = array(metadata, "packages").find(|package| text(package, "id") == id);
        package.map_or("", |package| text(package, "name"))
    };
    let root = array(metadata, "packages").find(|package| text(package, "name") == image);
    let Some(root) = root else { return };
    let mut open = vec![text(root, "id")];
    let mut seen = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        if NEVER_IN_HYPERVISOR.contains(&name_of(id)) {
            found.push(format!("{} is linked into {image}", name_of(id)));
        }
        let node = array(&metadata["resolve"], "nodes").find(|node| text(node, "id") == id);
        open.extend(
            node.iter()
                .flat_map(|node| array(node, "deps"))
                .filter_map(linked),
        );
    }
}

/// The package of a dependency that is neither for tests nor for building only.
fn linked(dependency: &Value) -> Option<&str> {
    let ordinary = array(dependency, "dep_kinds").any(|kind| kind["kind"].is_null());
    ordinary.then(|| text(dependency, "pkg"))
}

fn array<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, dependencies: &[(&str, Option<&str>)]) -> Value {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|(name, kind)| json!({ "name": name, "kind": kind }))
            .collect();
        json!({ "id": name, "name": name, "source": null, "dependencies": dependencies })
    }

    fn check(packages: &[Value]) -> Vec<String> {
        violations(&json!({ "packages": packages, "resolve": { "nodes": [] } }))
    }

    #[test]
    fn a_forbidden_arrow_is_found_in_tests_too() {
        let packages = [
            package("hv-common", &[("boards", Some("dev"))]),
            package("boards", &[]),
        ];
        assert_eq!(check(&packages), ["hv-common must not depend on boards"]);
    }

    #[test]
    fn a_lawful_graph_passes() {
        let packages = [
            package("hv-abi", &[("zerocopy", None)]),
            package(
                "hv-common",
                &[
                    ("hv-abi", None),
                    ("hv-common", Some("dev")),
                    ("proptest", Some("dev")),
                ],
            ),
        ];
        assert!(check(&packages).is_empty());
    }

    #[test]
    fn a_crate_that_the_hypervisor_may_not_use_is_found() {
        let found = check(&[package("boards", &[("anyhow", None)])]);
        assert!(found[0].starts_with("boards uses anyhow"), "{found:?}");
    }

    #[test]
    fn cbor_stays_where_it_belongs() {
        let found = check(&[package("guests", &[("minicbor", None)])]);
        assert!(found[0].starts_with("guests uses minicbor"), "{found:?}");
    }

    #[test]
    fn a_package_that_the_law_does_not_know_is_found() {
        assert!(check(&[package("helpers", &[])])[0].starts_with("helpers is not in"));
    }

    #[test]
    fn a_forbidden_crate_is_found_behind_another() {
        let node = |id: &str, dependency: &str, kind: Option<&str>| json!({ "id": id, "deps": [{ "pkg": dependency, "dep_kinds": [{ "kind": kind }] }] });
        let packages = [
            package("arch-aarch64", &[]),
            package("minicbor", &[]),
            package("log", &[]),
        ];
        let graph = |kind| {
            json!({ "packages": packages, "resolve": { "nodes": [
                node("arch-aarch64", "log", kind), node("log", "minicbor", None)
            ] } })
        };
        let found = violations(&graph(None));
        assert!(
            found.contains(&"minicbor is linked into arch-aarch64".to_owned()),
            "{found:?}"
        );
        let found = violations(&graph(Some("dev")));
        assert!(
            !found
                .iter()
                .any(|violation| violation.contains("linked into")),
            "{found:?}"
        );
    }
}
