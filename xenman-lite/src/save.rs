// SPDX-License-Identifier: MIT OR Apache-2.0
//! `save`: a domain into a file or the host's store.
//!
//! The domain stands still while it is read and is taken from the host only by `SaveCommit`, sent when
//! everything is on this machine's disk. Whatever ends the save before, the domain runs on: xend sees
//! to that when the session ends. The file is written under another name and appears complete.

use crate::{
    args,
    conf::Conf,
    domains::{self, ask},
    home::PRIVATE,
    link::{Client, LinkError, Pending},
    output::{Output, Progress, note, size},
    problem::Problem,
};
use mgmt_proto::{
    blob::{CHUNK, Digest},
    messages::{
        DomainRef, Reply, RequestBody, SaveCommit, SaveManifest, SaveRead, SaveStarted,
        SaveToStore, SavedChunk,
    },
    snapshot::{FileError, MAX_MANIFEST, Manifest, Sink, SnapshotWriter},
};
use serde_json::json;
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Requests under way at a time: one, because xend reads memory in rising order, and the rest of a range that held more than
/// one chunk is asked for only when its first chunk is here.
const DEPTH: usize = 1;

/// The most chunks one request looks at where memory is empty.
const STRIDE: u32 = 128;

const STORE_INTERRUPTED: &str =
    "the domain runs on, unless it was saved just before: 'xenman snapshot list' shows that";

/// `save`.
pub(crate) fn save(
    client: &Client,
    output: Output,
    conf: &Conf,
    save: &args::Save,
) -> Result<(), Problem> {
    match &save.target {
        Some(target) => save_to(client, output, &save.domain, target),
        None => {
            let domain = domains::show(client, &save.domain)?;
            let path = conf
                .saved()?
                .place_for(conf.home(), &domain.name, domain.uuid)?;
            to_file(client, output, &save.domain, (&path, PRIVATE))
        }
    }
}

/// Saves to a file, or `store:LABEL`.
pub(crate) fn save_to(
    client: &Client,
    output: Output,
    domain: &str,
    target: &str,
) -> Result<(), Problem> {
    match target.strip_prefix("store:") {
        Some(label) => to_store(client, output, domain, label),
        None => to_file(client, output, domain, (Path::new(target), 0o666)),
    }
}

fn to_store(client: &Client, output: Output, name: &str, label: &str) -> Result<(), Problem> {
    let body = RequestBody::SaveToStore(SaveToStore {
        domain: DomainRef::parse(name),
        label: label.to_owned(),
    });
    let progress = Progress::count("saving", 0);
    let reply = client
        .call_with_progress(body, |said| progress.report(said))
        .map_err(|error| domains::explain(client, name, error.into()))
        .map_err(|problem| problem.if_interrupted(STORE_INTERRUPTED))?;
    drop(progress);
    let Reply::Saved(saved) = reply else {
        return Err(Problem::nonsense("a saved domain"));
    };
    output.either(
        &json!({ "label": saved.label, "memory_kib": saved.memory_kib, "stored_kib": saved.stored_kib }),
        &format!("saved into the store as '{}': {} of memory in {}", saved.label, size(saved.memory_kib), size(saved.stored_kib)),
    )
}

/// Saves to a file with this mode, as far as the umask lets it.
fn to_file(
    client: &Client,
    output: Output,
    name: &str,
    (path, mode): (&Path, u32),
) -> Result<(), Problem> {
    let partial = Partial::create(path, mode)?;
    let Reply::SaveStarted(started) =
        ask(client, name, RequestBody::SaveBegin(DomainRef::parse(name)))?
    else {
        return Err(Problem::nonsense("a save that has begun"));
    };
    let written = Reading { client, started }
        .into_file(&partial)
        .inspect_err(|_| drop(client.call(RequestBody::SaveAbort(started.save))));
    let (root, length) =
        written.map_err(|problem| problem.with_remedy_if_none("the domain runs on"))?;
    commit(client, started.save, root, partial, path)?;
    output.either(
        &json!({ "file": path.to_string_lossy(), "memory_kib": started.memory_kib, "stored_kib": length.div_ceil(1024) }),
        &format!("saved to {}: {} of memory in {}", path.display(), size(started.memory_kib), size(length.div_ceil(1024))),
    )
}

/// Gives the domain up to its file.
fn commit(
    client: &Client,
    save: u32,
    root: Digest,
    partial: Partial,
    path: &Path,
) -> Result<(), Problem> {
    match client.decide(RequestBody::SaveCommit(SaveCommit { save, root })) {
        Ok(_) => partial.publish(path),
        // xend said no: the domain runs on, and the file is worth nothing.
        Err(LinkError::Failed(failure)) => {
            Err(Problem::from(failure).with_remedy_if_none("the domain runs on"))
        }
        Err(error) => {
            let kept = partial.keep();
            note(&format!(
                "xenman: whether the domain was given up is unknown; if it is gone, {} has it all",
                kept.display()
            ));
            Err(error.into())
        }
    }
}

/// The file while it is not complete. It goes away unless published or kept.
struct Partial {
    path: Option<PathBuf>,
    file: File,
}

impl Partial {
    fn create(target: &Path, mode: u32) -> Result<Self, Problem> {
        if target.is_dir() {
            return Err(Problem::new(format!(
                "cannot save to {}: it is a directory",
                target.display()
            )));
        }
        let mut path = target.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(mode);
        let open = || {
            let file = options.open(&path)?;
            if mode == PRIVATE {
                // The umask may have taken something away, and an older file may give more.
                file.set_permissions(Permissions::from_mode(mode))?;
            }
            Ok(file)
        };
        let file =
            open().map_err(|error| Problem::file("write", &path.to_string_lossy(), &error))?;
        Ok(Self {
            path: Some(path),
            file,
        })
    }

    /// Gives the complete file its name.
    fn publish(self, target: &Path) -> Result<(), Problem> {
        let partial = self.keep();
        fs::rename(&partial, target).map_err(|error| {
            Problem::file("rename", &partial.to_string_lossy(), &error)
                .with_remedy(format!("the domain is saved in {}", partial.display()))
        })?;
        let folder = target
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        // The content is safe already; a folder that cannot be synced costs the name at most.
        drop(File::open(folder).and_then(|folder| folder.sync_all()));
        Ok(())
    }

    fn keep(mut self) -> PathBuf {
        self.path.take().unwrap_or_default()
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            drop(fs::remove_file(path));
        }
    }
}

/// A file as a snapshot's sink.
struct FileSink {
    file: BufWriter<File>,
    length: u64,
}

impl Sink for FileSink {
    type Error = io::Error;

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.file.write_all(bytes)
    }
}

/// A save being read.
struct Reading<'a> {
    client: &'a Client,
    started: SaveStarted,
}

/// A range of chunks asked for.
struct Asked {
    from: u32,
    to: u32,
    answer: Pending,
}

impl Reading<'_> {
    /// Reads it all into the file, onto the disk; returns the root and the file's length.
    fn into_file(self, partial: &Partial) -> Result<(Digest, u64), Problem> {
        let file = partial
            .file
            .try_clone()
            .map_err(|error| cannot_write(&error))?;
        let sink = FileSink {
            file: BufWriter::with_capacity(1 << 20, file),
            length: 0,
        };
        let manifest_bytes = self.manifest()?;
        let manifest =
            Manifest::decode(&manifest_bytes).map_err(|error| Problem::new(error.to_string()))?;
        if manifest.chunk_count() != self.started.chunk_count {
            return Err(Problem::nonsense("as long as its manifest says"));
        }
        let mut writer = SnapshotWriter::new(sink, &manifest_bytes).map_err(file_problem)?;
        self.chunks(&manifest, &mut writer)?;
        let (mut sink, root) = writer.finish().map_err(file_problem)?;
        sink.file
            .flush()
            .and_then(|()| sink.file.get_ref().sync_all())
            .map_err(|error| cannot_write(&error))?;
        Ok((root, sink.length))
    }

    fn manifest(&self) -> Result<Vec<u8>, Problem> {
        let length = usize::try_from(self.started.manifest_length).unwrap_or(usize::MAX);
        let mut bytes: Vec<u8> = Vec::new();
        while bytes.len() < length && bytes.len() <= MAX_MANIFEST {
            let offset = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let body = RequestBody::SaveManifest(SaveManifest {
                save: self.started.save,
                offset,
            });
            match self.client.call(body)? {
                Reply::Manifest(piece) if !piece.bytes.is_empty() => bytes.extend(piece.bytes),
                _ => return Err(Problem::nonsense("a piece of the manifest")),
            }
        }
        if bytes.len() == length {
            Ok(bytes)
        } else {
            Err(Problem::nonsense("a manifest of the length announced"))
        }
    }

    /// Reads all chunks in order, several requests under way: small ranges where memory is full, long
    /// ones where it is empty.
    fn chunks(
        &self,
        manifest: &Manifest,
        writer: &mut SnapshotWriter<FileSink>,
    ) -> Result<(), Problem> {
        let total = self.started.chunk_count;
        let progress = Progress::bytes("saving", manifest.memory_length());
        let mut under_way: VecDeque<Asked> = VecDeque::new();
        let (mut next, mut stride) = (0u32, 1u32);
        loop {
            while under_way.len() < DEPTH && next < total {
                let to = next.saturating_add(stride).min(total);
                under_way.push_back(self.ask(next, to));
                next = to;
            }
            let Some(asked) = under_way.pop_front() else {
                return Ok(());
            };
            let saved = match asked.answer.wait()? {
                Reply::SavedChunk(saved) if saved.next > asked.from && saved.next <= asked.to => {
                    saved
                }
                _ => return Err(Problem::nonsense("a chunk of the memory asked for")),
            };
            progress
                .add(u64::from(saved.next.saturating_sub(asked.from)).saturating_mul(CHUNK as u64));
            stride = if saved.chunk.is_some() {
                1
            } else {
                stride.saturating_mul(2).min(STRIDE)
            };
            if saved.next < asked.to {
                under_way.push_front(self.ask(saved.next, asked.to));
            }
            write_chunk(manifest, writer, saved)?;
        }
    }

    fn ask(&self, from: u32, to: u32) -> Asked {
        let limit = to.saturating_sub(from);
        let body = RequestBody::SaveRead(SaveRead {
            save: self.started.save,
            index: from,
            limit,
        });
        Asked {
            from,
            to,
            answer: self.client.start(body),
        }
    }
}

fn write_chunk(
    manifest: &Manifest,
    writer: &mut SnapshotWriter<FileSink>,
    saved: SavedChunk,
) -> Result<(), Problem> {
    let Some(chunk) = saved.chunk else {
        return Ok(());
    };
    let index = saved.next.saturating_sub(1);
    let length = manifest
        .chunk_length(index)
        .ok_or_else(|| Problem::nonsense("within the memory"))?;
    // What cannot be read back is not worth the domain.
    chunk
        .decode(length)
        .map_err(|error| Problem::new(format!("memory arrived damaged: {error}")))?;
    writer.chunk(index, chunk).map_err(file_problem)
}

fn file_problem(error: FileError<io::Error>) -> Problem {
    match error {
        FileError::Io(error) => cannot_write(&error),
        other => Problem::new(other.to_string()),
    }
}

fn cannot_write(error: &io::Error) -> Problem {
    Problem::file("write", "the file", error)
}
