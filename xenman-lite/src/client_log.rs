// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client's log: what was asked of which host, and what came of it, a line each.
//!
//! It is in the operator's folder, is nobody else's to read, and does not grow without bound: a file that is long enough is
//! kept as `.1`, in place of an older one.

use crate::{
    home::{self, Home, PRIVATE},
    output::harmless,
    problem::Problem,
};
use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The length at which a file is long enough.
const LONG_ENOUGH: u64 = 1 << 20;

/// The most characters of a line.
const MAX_LINE: usize = 1000;

/// A log in the operator's folder.
#[derive(Debug)]
pub(crate) struct ClientLog {
    home: Home,
    name: String,
}

impl ClientLog {
    /// The log with this file name.
    pub(crate) fn new(home: Home, name: String) -> Self {
        Self { home, name }
    }

    /// Adds a line.
    pub(crate) fn add(
        &self,
        host: &str,
        asked: &str,
        outcome: &Result<(), Problem>,
    ) -> Result<(), Problem> {
        let folder = self.home.folder()?;
        let path = folder.join(&self.name);
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let line = match outcome {
            Ok(()) => format!("{now} {host}: {asked}: done"),
            Err(problem) => {
                let why = problem.message.lines().next().unwrap_or_default();
                format!("{now} {host}: {asked}: failed ({}): {why}", problem.status)
            }
        };
        let line: String = harmless(&line).chars().take(MAX_LINE).collect();
        let _lock = home::lock(&folder)?;
        append(&path, &format!("{line}\n"))
            .map_err(|error| Problem::file("write", &path.to_string_lossy(), &error))
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|it| it.len() >= LONG_ENOUGH) {
        fs::rename(path, older(path))?;
    }
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(PRIVATE).open(path)?;
    file.set_permissions(Permissions::from_mode(PRIVATE))?;
    file.write_all(line.as_bytes())
}

fn older(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_a_line_for_each_request_and_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = ClientLog::new(Home::at(folder.path().join("x")), "xenman.log".to_owned());
        let path = folder.path().join("x/xenman.log");
        log.add("unix:/a", "list", &Ok(())).unwrap();
        let refused = Err(Problem::new("no\nsuch thing"));
        log.add("unix:/a", "pause\x1b b", &refused).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().filter_map(|it| it.split_once(' ')).collect();
        assert!(
            lines[0].0.starts_with("20") && lines[0].0.ends_with('Z'),
            "{text}"
        );
        assert_eq!(lines[0].1, "unix:/a: list: done");
        assert_eq!(lines[1].1, "unix:/a: pause? b: failed (1): no");
        fs::write(&path, vec![b'x'; 1 << 20]).unwrap();
        log.add("unix:/a", "list", &Ok(())).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 100);
        assert_eq!(fs::metadata(older(&path)).unwrap().len(), 1 << 20);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, PRIVATE);
    }
}
