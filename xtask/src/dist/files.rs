//! Files as they are laid out to be packed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use harness::images::workspace_root;

use crate::failure::Failure;
use crate::{Outcome, command};

/// Who may do what with a file, whoever makes the package.
pub(super) const FILE: u32 = 0o644;
pub(super) const PROGRAM: u32 = 0o755;

/// What comes from the workspace with everything that is handed out.
const DOCUMENTS: [&str; 5] = [
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];

/// The user guide.
const GUIDE: &str = "docs/guide";

/// Writes a file and the folders above it.
pub(super) fn write(path: &Path, content: impl AsRef<[u8]>) -> Outcome {
    if let Some(folder) = path.parent() {
        command::make_folder(folder)?;
    }
    fs::write(path, content).map_err(Failure::file(path))?;
    set_mode(path, FILE)
}

/// Copies a file, and makes the folders above it.
pub(super) fn copy(from: &Path, to: &Path, mode: u32) -> Outcome {
    write(to, fs::read(from).map_err(Failure::file(from))?)?;
    set_mode(to, mode)
}

fn set_mode(path: &Path, mode: u32) -> Outcome {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(Failure::file(path))
}

/// Puts the README, the licences and the changes into a folder.
pub(super) fn documents(folder: &Path) -> Outcome {
    DOCUMENTS
        .iter()
        .try_for_each(|name| copy(&workspace_root().join(name), &folder.join(name), FILE))
}

/// Puts the user guide into a folder.
pub(super) fn guide(folder: &Path) -> Outcome {
    let from = workspace_root().join(GUIDE);
    for entry in fs::read_dir(&from).map_err(Failure::file(&from))? {
        let path = entry.map_err(Failure::file(&from))?.path();
        if let Some(name) = path.file_name() {
            copy(&path, &folder.join(name), FILE)?;
        }
    }
    Ok(())
}

/// All files below a folder, in order.
pub(super) fn below(folder: &Path) -> Outcome<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Failure::file(folder))? {
        let path = entry.map_err(Failure::file(folder))?.path();
        if path.is_dir() {
            files.extend(below(&path)?);
        } else {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
