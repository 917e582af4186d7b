// SPDX-License-Identifier: MIT OR Apache-2.0
//! `~/.xenman`: what xenman keeps for its operator.
//!
//! - The folder and those in it are made when something is first kept, with mode 0700, files with 0600, whatever the umask.
//! - A folder that others may write to is not used: they would decide which hosts are asked, and what is sent there.
//! - Files are replaced as a whole: whoever is killed meanwhile leaves the old one.
//! - `XENMAN_HOME` names another folder. Without it and `HOME` there is none, and nothing is kept.

use crate::problem::Problem;
use std::{
    env,
    fs::{self, DirBuilder, File, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Nobody else reads or writes it.
pub(crate) const PRIVATE: u32 = 0o600;

/// The operator's folder, or why there is none.
#[derive(Clone, Debug)]
pub(crate) struct Home(Place);

#[derive(Clone, Debug)]
enum Place {
    Nowhere,
    /// It may be made when it is needed.
    At(PathBuf),
    /// It is there, and not to be used.
    Refused(PathBuf),
}

impl Home {
    /// As the environment says.
    pub(crate) fn of_operator() -> Self {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty());
        let own = variable("XENMAN_HOME").map(PathBuf::from);
        match own.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".xenman"))) {
            Some(path) => Self::at(path),
            None => Self(Place::Nowhere),
        }
    }

    /// A folder, whether it is there already or not.
    pub(crate) fn at(path: PathBuf) -> Self {
        if is_open_to_others(&path) {
            Self(Place::Refused(path))
        } else {
            Self(Place::At(path))
        }
    }

    /// Where the folder is, or will be.
    pub(crate) fn path(&self) -> Result<&Path, Problem> {
        match &self.0 {
            Place::At(path) => Ok(path),
            Place::Refused(path) => Err(open_to_others(path)),
            Place::Nowhere => Err(
                Problem::new("there is no folder of your own: HOME is not set")
                    .with_remedy("set XENMAN_HOME to a folder for xenman's files"),
            ),
        }
    }

    /// Why the folder is not used although it is there.
    pub(crate) fn refusal(&self) -> Option<Problem> {
        match &self.0 {
            Place::Refused(path) => Some(open_to_others(path)),
            Place::At(_) | Place::Nowhere => None,
        }
    }

    /// The folder, made if need be.
    pub(crate) fn folder(&self) -> Result<PathBuf, Problem> {
        let path = self.path()?;
        make_folder(path)?;
        Ok(path.to_owned())
    }

    /// A folder in it, made if need be.
    pub(crate) fn folder_for(&self, name: &str) -> Result<PathBuf, Problem> {
        let path = self.folder()?.join(name);
        make_folder(&path)?;
        Ok(path)
    }
}

fn is_open_to_others(path: &Path) -> bool {
    const OTHERS_WRITE: u32 = 0o022;
    fs::metadata(path).is_ok_and(|it| it.permissions().mode() & OTHERS_WRITE != 0)
}

fn open_to_others(path: &Path) -> Problem {
    let path = path.display();
    Problem::new(format!("{path} is not used: others may write to it"))
        .with_remedy(format!("chmod go-w {path}"))
}

/// Makes a folder that is nobody else's, unless it is there.
pub(crate) fn make_folder(path: &Path) -> Result<(), Problem> {
    let failed = |error| Problem::file("make", &path.to_string_lossy(), &error);
    if !path.is_dir() {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match DirBuilder::new().mode(0o700).create(path) {
            // The umask may have taken something away.
            Ok(()) => fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(failed(error)),
        }
    }
    if is_open_to_others(path) {
        return Err(open_to_others(path));
    }
    Ok(())
}

/// Keeps every other xenman from changing what is in a folder, until the answer is dropped.
pub(crate) fn lock(folder: &Path) -> Result<File, Problem> {
    let locked = File::open(folder).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|error| Problem::file("lock", &folder.to_string_lossy(), &error))
}

/// Gives a file this content and mode, or leaves it as it is.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Problem> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    replace_in(folder, path, content, mode)
        .map_err(|error| Problem::file("write", &path.to_string_lossy(), &error))
}

fn replace_in(folder: &Path, path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .tempfile_in(folder)?;
    let permissions = Permissions::from_mode(mode);
    file.as_file().set_permissions(permissions)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // The content is safe already; a folder that cannot be synced costs the name at most.
    drop(File::open(folder).and_then(|folder| folder.sync_all()));
    Ok(())
}

/// How the names of files begin that are not complete yet.
pub(crate) const TEMPORARY: &str = ".xenman-";

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn folders_and_files_are_made_for_the_operator_alone() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("a/.xenman"));
        assert!(!home.path().unwrap().exists(), "not before it is needed");
        let cache = home.folder_for("cache").unwrap();
        assert_eq!((mode(home.path().unwrap()), mode(&cache)), (0o700, 0o700));
        let file = cache.join("x");
        replace(&file, b"one", PRIVATE).unwrap();
        replace(&file, b"two", PRIVATE).unwrap();
        assert_eq!(mode(&file), PRIVATE);
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bits in [0o770, 0o702] {
            fs::set_permissions(folder.path(), Permissions::from_mode(bits)).unwrap();
            let home = Home::at(folder.path().to_owned());
            let told = home.folder().unwrap_err().to_string();
            assert!(told.contains("others may write to it\n  help: chmod go-w"));
            assert!(home.refusal().is_some());
        }
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let home = Home::at(folder.path().to_owned());
        home.folder().unwrap();
        fs::create_dir(folder.path().join("cache")).unwrap();
        let cache = folder.path().join("cache");
        fs::set_permissions(&cache, Permissions::from_mode(0o777)).unwrap();
        assert!(home.folder_for("cache").is_err());
    }
}
