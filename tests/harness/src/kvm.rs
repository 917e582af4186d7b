//! Whether KVM can run a hypervisor here.

use std::fs::{self, File};
use std::path::Path;

/// The CPU model that is the machine's own.
pub const CPU: &str = "host";

const DEVICE: &str = "/dev/kvm";
/// Where the modules of KVM say whether they nest.
const NESTED: [&str; 2] = [
    "/sys/module/kvm_intel/parameters/nested",
    "/sys/module/kvm_amd/parameters/nested",
];

/// A sentence says what is missing.
pub(crate) fn check() -> Result<(), String> {
    check_in(Path::new(DEVICE), &NESTED.map(Path::new))
}

fn check_in(device: &Path, nested: &[&Path]) -> Result<(), String> {
    let opened = File::options().read(true).write(true).open(device);
    opened.map_err(|error| {
        let device = device.display();
        format!("--cpu {CPU} needs KVM, and {device} cannot be opened: {error}")
    })?;
    let is_on = |path: &&Path| {
        let setting = fs::read_to_string(path);
        setting.is_ok_and(|setting| matches!(setting.trim(), "Y" | "1"))
    };
    if nested.iter().any(is_on) {
        return Ok(());
    }
    Err(format!(
        "--cpu {CPU} needs nested virtualization: load kvm_intel or kvm_amd with nested=1"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let (device, nested) = (folder.path().join("kvm"), folder.path().join("nested"));
        let said = || check_in(&device, &[&nested]);
        assert!(
            said()
                .unwrap_err()
                .contains("cannot be opened: No such file")
        );
        fs::write(&device, "").unwrap();
        assert!(said().unwrap_err().contains("nested=1"));
        fs::write(&nested, "N\n").unwrap();
        assert!(said().unwrap_err().contains("nested=1"));
        fs::write(&nested, "Y\n").unwrap();
        assert_eq!(said(), Ok(()));
    }
}
