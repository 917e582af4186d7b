//! What may be named where, from the sources.
//!
//! `unsafe`, and the crates that touch system registers and interrupt controllers, belong into `hw` folders (and the
//! guests' runtime); code that depends on the architecture it is compiled for does too; and `hv-common` does not
//! know what an architecture or a device of one is called ([`names`](super::names)).

use std::fs;
use std::path::{Path, PathBuf};

use super::names;
use crate::Outcome;
use crate::failure::Failure;
use crate::source::{Word, words};

/// Crates whose every use is privileged.
const HARDWARE_CRATES: [&str; 4] = ["aarch64_cpu", "arm_gic", "x86_64", "x2apic"];

/// Every place where a source file of the workspace at `root` names what it may not.
pub(super) fn violations(root: &Path) -> Outcome<Vec<String>> {
    let mut found = Vec::new();
    for path in sources(root)? {
        let source = fs::read_to_string(&path).map_err(Failure::file(&path))?;
        let place = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        check(&place, &source, &mut found);
        names::check(&place, &source, &mut found);
    }
    Ok(found)
}

fn sources(root: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Failure::file(&folder))? {
            let path = entry.map_err(Failure::file(&folder))?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn check(place: &str, source: &str, found: &mut Vec<String>) {
    let words = words(source);
    for (index, word) in words.iter().enumerate() {
        let previous = index.checked_sub(1).and_then(|index| words.get(index));
        if let Some(why) = objection(place, previous, word) {
            found.push(format!("{place}:{}: {why}", word.line));
        }
    }
}

fn objection(place: &str, previous: Option<&Word<'_>>, word: &Word<'_>) -> Option<String> {
    let text = word.text;
    let imported = previous.is_some_and(|previous| matches!(previous.text, "use" | "crate"));
    if !is_hardware(place) {
        if text == "unsafe" {
            return Some("unsafe outside a hw folder".to_owned());
        }
        if HARDWARE_CRATES.contains(&text) && (word.is_path || imported) {
            return Some(format!("{text} outside a hw folder"));
        }
        if text == "target_arch" {
            return Some("code that depends on target_arch outside a hw folder".to_owned());
        }
    }
    None
}

fn is_hardware(place: &str) -> bool {
    place.contains("/src/hw/")
        || place.ends_with("/src/hw.rs")
        || place.starts_with("tests/guests/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objections(place: &str, source: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(place, source, &mut found);
        found
    }

    const SAMPLE: &str =
        "use arm_gic::gicv3::GicV3;\n\nfn f() { unsafe { g() } }\n// unsafe, GIC\n";

    #[test]
    fn hardware_outside_its_folder_is_found_with_its_line() {
        let found = objections("arch-aarch64/src/vgic.rs", SAMPLE);
        assert_eq!(
            found,
            [
                "arch-aarch64/src/vgic.rs:1: arm_gic outside a hw folder",
                "arch-aarch64/src/vgic.rs:3: unsafe outside a hw folder"
            ]
        );
        assert!(objections("arch-aarch64/src/hw/gic.rs", SAMPLE).is_empty());
        assert!(objections("arch-aarch64/src/hw.rs", SAMPLE).is_empty());
        assert!(objections("tests/guests/src/lib.rs", SAMPLE).is_empty());
    }

    #[test]
    fn the_architecture_compiled_for_matters_to_hardware_code_only() {
        let source = "#[cfg(target_arch = \"aarch64\")]\nfn f() {}";
        assert_eq!(objections("hv-common/src/event.rs", source).len(), 1);
        assert!(objections("dom0-mini/src/hw/entry.rs", source).is_empty());
    }

    #[test]
    fn forbidding_unsafe_is_not_unsafe() {
        assert!(objections("boards/src/lib.rs", "#![forbid(unsafe_code)]").is_empty());
    }

    #[test]
    fn an_architecture_that_is_only_mentioned_is_no_use_of_its_crate() {
        assert!(objections("boards/src/lib.rs", "arch: Arch::x86_64,").is_empty());
        assert_eq!(objections("boards/src/lib.rs", "use x86_64;").len(), 1);
    }
}
