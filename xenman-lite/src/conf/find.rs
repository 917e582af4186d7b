// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where `xenman.conf` is: in this folder, in the operator's own, or everybody's. The first one that can be read counts.
//!
//! One in the operator's own folder that is broken is put aside, under a name that was not there before, and a new one with
//! the defaults takes its place. One elsewhere is told of and left as it is.

use super::{STANDARD, ini::Ini};
use crate::{
    home::{self, Home, PRIVATE},
    output::{harmless, note},
    problem::Problem,
};
use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

/// The file's name, wherever it is.
pub(super) const NAME: &str = "xenman.conf";

/// The longest file that is read.
const MAX_FILE: u64 = 1 << 20;

/// Where it is looked for, besides the operator's own folder.
pub(crate) struct Places {
    pub(crate) here: PathBuf,
    pub(crate) everybody: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            here: Path::new(".").join(NAME),
            everybody: Path::new("/etc/xenman").join(NAME),
        }
    }
}

/// A file that counts.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) ini: Ini,
    /// Whether it is everybody's: it is not changed, but copied.
    pub(super) is_shared: bool,
}

/// What is at one place.
enum Look {
    Nothing,
    Unreadable(Problem),
    Broken(Problem),
    Good(String, Ini),
}

/// The file that counts, if there is one.
pub(super) fn find(places: &Places, home: &Home) -> Option<Found> {
    let others = |path: &Path, is_shared| found(path, look(path), is_shared);
    others(&places.here, false)
        .or_else(|| own(home))
        .or_else(|| others(&places.everybody, true))
}

fn found(path: &Path, look: Look, is_shared: bool) -> Option<Found> {
    match look {
        Look::Nothing => None,
        Look::Unreadable(problem) | Look::Broken(problem) => {
            note(&format!("{problem}\n  it is not used"));
            None
        }
        Look::Good(text, ini) => Some(Found {
            path: path.to_owned(),
            text,
            ini,
            is_shared,
        }),
    }
}

fn own(home: &Home) -> Option<Found> {
    if let Some(refusal) = home.refusal() {
        note(&refusal.to_string());
    }
    let path = home.path().ok()?.join(NAME);
    match look(&path) {
        Look::Broken(why) => match heal(home, &path) {
            Ok(healed) => found(&path, healed, false),
            Err(problem) => {
                let cannot = problem.message;
                note(&format!("{why}\n  it is not used, and stays: {cannot}"));
                None
            }
        },
        other => found(&path, other, false),
    }
}

/// Puts a broken file aside and a new one in its place, unless another xenman did so meanwhile.
fn heal(home: &Home, path: &Path) -> Result<Look, Problem> {
    let _lock = home::lock(home.path()?)?;
    let Look::Broken(why) = look(path) else {
        return Ok(look(path));
    };
    let aside = free_name(path);
    fs::rename(path, &aside)
        .map_err(|error| Problem::file("rename", &path.to_string_lossy(), &error))?;
    home::replace(path, STANDARD.as_bytes(), PRIVATE)?;
    note(&format!(
        "{why}\n  it is {} now, and a new one with the defaults is in its place",
        aside.display()
    ));
    Ok(look(path))
}

/// `xenman.conf.bak`, or the first of `.bak.1`, `.bak.2` and so on that is not there.
fn free_name(path: &Path) -> PathBuf {
    let with = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let endings = (1u64..).map(|number| format!(".bak.{number}"));
    let mut names = std::iter::once(".bak".to_owned()).chain(endings);
    let free = names.find_map(|ending| {
        let path = with(&ending);
        path.symlink_metadata().is_err().then_some(path)
    });
    free.unwrap_or_else(|| with(".bak"))
}

fn look(path: &Path) -> Look {
    let shown = path.to_string_lossy();
    let broken = |why: &str| Look::Broken(Problem::new(format!("{shown}{why}")));
    match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Look::Nothing,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Look::Nothing,
        Err(error) => Look::Unreadable(Problem::file("read", &shown, &error)),
        Ok(bytes) if bytes.len() as u64 > MAX_FILE => broken(" is longer than 1 MiB"),
        Ok(bytes) => match String::from_utf8(bytes) {
            Err(_) => broken(" is not a text in UTF-8"),
            Ok(text) => match Ini::parse(&text) {
                Ok(ini) => Look::Good(text, ini),
                Err(wrong) => broken(&format!(":{}: {}", wrong.line, harmless(&wrong.message))),
            },
        },
    }
}

/// Reads a file, but does not wait for what is none.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a file as it is now, if it is there.
pub(super) fn read_again(path: &Path) -> Result<Option<String>, Problem> {
    match look(path) {
        Look::Good(text, _) => Ok(Some(text)),
        Look::Nothing => Ok(None),
        Look::Unreadable(problem) | Look::Broken(problem) => Err(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    struct Desk {
        folder: TempDir,
        places: Places,
        home: Home,
    }

    /// Folders of which each has this file, if any.
    fn desk(here: Option<&str>, own: Option<&str>, everybody: Option<&str>) -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, text: Option<&str>| {
            let folder = folder.path().join(name);
            home::make_folder(&folder).unwrap();
            let path = folder.join(NAME);
            if let Some(text) = text {
                fs::write(&path, text).unwrap();
            }
            path
        };
        let places = Places {
            here: place("here", here),
            everybody: place("everybody", everybody),
        };
        place("own", own);
        let home = Home::at(folder.path().join("own"));
        Desk {
            folder,
            places,
            home,
        }
    }

    /// The host of the file that is found.
    fn host(desk: &Desk) -> Option<String> {
        let found = find(&desk.places, &desk.home)?;
        found.ini.names().first().map(|name| (*name).to_owned())
    }

    #[test]
    fn the_first_good_one_counts() {
        let (a, b, c, bad) = (Some("[a]\n"), Some("[b]\n"), Some("[c]\n"), Some("[\n"));
        for (here, own, everybody, counts) in [
            (a, b, c, Some("a")),
            (None, b, c, Some("b")),
            (None, None, c, Some("c")),
            (None, None, None, None),
            (bad, b, c, Some("b")),
            (None, None, bad, None),
            (bad, bad, c, Some("ENVIRONMENT")),
        ] {
            let desk = desk(here, own, everybody);
            assert_eq!(host(&desk).as_deref(), counts);
            let left = |path: &Path| fs::read_to_string(path).ok();
            assert_eq!(left(&desk.places.here).as_deref(), here);
            assert_eq!(left(&desk.places.everybody).as_deref(), everybody);
        }
    }

    #[test]
    fn a_broken_one_is_kept_under_a_name_of_its_own() {
        let desk = desk(None, Some("first\n"), None);
        let own = desk.folder.path().join("own");
        let read = |name: &str| fs::read_to_string(own.join(name)).unwrap();
        for broken in ["first\n", "second\n", "third\n"] {
            fs::write(own.join(NAME), broken).unwrap();
            assert_eq!(host(&desk).as_deref(), Some("ENVIRONMENT"));
            assert_eq!(read(NAME), STANDARD);
        }
        assert_eq!(read("xenman.conf.bak"), "first\n");
        assert_eq!(read("xenman.conf.bak.1"), "second\n");
        assert_eq!(read("xenman.conf.bak.2"), "third\n");
    }

    #[test]
    fn what_is_no_text_is_broken_and_what_is_no_file_is_left() {
        for bytes in [&b"[a]\nk=\xff\n"[..], &vec![b'#'; (1 << 20) + 1]] {
            let desk = desk(None, None, None);
            fs::write(desk.folder.path().join("own").join(NAME), bytes).unwrap();
            assert_eq!(host(&desk).as_deref(), Some("ENVIRONMENT"));
        }
        let desk = desk(None, None, Some("[c]\n"));
        fs::create_dir(desk.folder.path().join("own").join(NAME)).unwrap();
        assert_eq!(host(&desk).as_deref(), Some("c"));
    }
}
