// SPDX-License-Identifier: MIT OR Apache-2.0
//! Kernels that were unpacked before, by the blake3 of what they were unpacked from: `~/.xenman/cache`.
//!
//! What is in it can be had again at any time. So what goes wrong with it is no failure, and nobody waits for anybody: a file
//! appears complete or not at all, and is not changed any more. The kernel that was used longest ago goes first.

use crate::home::{self, Home, PRIVATE};
use mgmt_proto::blob::Digest;
use std::{
    fs::{self, File},
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// The most bytes that are kept.
const MAX_BYTES: u64 = 512 << 20;

/// How the names of unpacked kernels begin.
const KERNEL: &str = "kernel-";

/// After this time nobody goes on with a file that was begun.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Unpacked kernels.
pub(crate) struct Cache<'a> {
    home: &'a Home,
    max: u64,
}

/// A file in it.
struct Kept {
    path: PathBuf,
    used: SystemTime,
    length: u64,
}

impl<'a> Cache<'a> {
    /// The operator's.
    pub(crate) fn new(home: &'a Home) -> Self {
        let max = MAX_BYTES;
        Self { home, max }
    }

    fn folder(&self) -> Option<PathBuf> {
        self.home.folder_for("cache").ok()
    }

    /// What was unpacked from this, if it is known.
    pub(crate) fn get(&self, packed: Digest) -> Option<Vec<u8>> {
        let path = self.folder()?.join(format!("{KERNEL}{packed}"));
        let bytes = fs::read(&path).ok()?;
        // If it cannot be marked as used it goes earlier.
        drop(File::open(&path).and_then(|file| file.set_modified(SystemTime::now())));
        Some(bytes)
    }

    /// Keeps what was unpacked.
    pub(crate) fn put(&self, packed: Digest, unpacked: &[u8]) {
        let length = unpacked.len() as u64;
        let Some(folder) = self.folder().filter(|_| length <= self.max) else {
            return;
        };
        self.make_room(length);
        let path = folder.join(format!("{KERNEL}{packed}"));
        drop(home::replace(&path, unpacked, PRIVATE));
    }

    /// Removes what was used longest ago until there is room, and what was begun and never completed.
    fn make_room(&self, length: u64) {
        let mut kept = Vec::new();
        for file in self.files() {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let is_old = file.used.elapsed().is_ok_and(|age| age > ABANDONED);
            if name.starts_with(KERNEL) {
                kept.push(file);
            } else if name.starts_with(home::TEMPORARY) && is_old {
                drop(fs::remove_file(&file.path));
            }
        }
        kept.sort_by_key(|file| file.used);
        let mut sum: u64 = kept.iter().map(|file| file.length).sum();
        for file in kept {
            if sum.saturating_add(length) <= self.max {
                break;
            }
            drop(fs::remove_file(&file.path));
            sum = sum.saturating_sub(file.length);
        }
    }

    fn files(&self) -> Vec<Kept> {
        let folder = self.folder().and_then(|folder| fs::read_dir(folder).ok());
        let files = folder.into_iter().flatten().flatten();
        let kept = files.filter_map(|file| {
            let metadata = file.metadata().ok()?;
            Some(Kept {
                path: file.path(),
                used: metadata.modified().ok()?,
                length: metadata.len(),
            })
        });
        kept.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Digest {
        Digest([number; 32])
    }

    /// Makes something look as if it had been used so many hours ago.
    fn age(home: &Home, name: &str, hours: u64) {
        let path = home.folder_for("cache").unwrap().join(name);
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        File::open(path).unwrap().set_modified(then).unwrap();
    }

    #[test]
    fn what_was_kept_is_found_and_the_oldest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("x"));
        let cache = Cache {
            home: &home,
            max: 100,
        };
        assert_eq!(cache.get(key(1)), None);
        for (number, hours) in [(1, 3), (2, 2)] {
            cache.put(key(number), &[number; 40]);
            age(&home, &format!("{KERNEL}{}", key(number)), hours);
        }
        assert_eq!(
            cache.get(key(1)),
            Some(vec![1; 40]),
            "and now it is the youngest"
        );
        let begun = home.folder_for("cache").unwrap().join(".xenman-begun");
        fs::write(begun, "x").unwrap();
        age(&home, ".xenman-begun", 2);
        cache.put(key(3), &[3; 40]);
        assert_eq!(cache.get(key(2)), None);
        assert!(cache.get(key(1)).is_some() && cache.get(key(3)).is_some());
        cache.put(key(4), &[4; 101]);
        assert_eq!(cache.get(key(4)), None);
        assert_eq!(cache.files().len(), 2);
    }

    #[test]
    fn without_a_folder_nothing_is_kept() {
        let home = Home::at("/proc/nowhere/x".into());
        let cache = Cache::new(&home);
        cache.put(key(1), b"x");
        assert_eq!(cache.get(key(1)), None);
    }
}
