// SPDX-License-Identifier: MIT OR Apache-2.0
//! `restore`: a domain from a file or the host's store.
//!
//! The whole file is checked before xend hears of it. Until `RestoreCommit` nothing runs, and whatever
//! ends the restore before leaves nothing behind on the host. A domain is built anew when it reboots,
//! so the kernel and ramdisk it was built from are offered first, if they are still where they were;
//! where they are not, xend warns.

use crate::{
    args,
    conf::Conf,
    create,
    link::{Client, LinkError},
    output::{Output, Progress, harmless, note},
    problem::Problem,
    upload::upload,
};
use mgmt_proto::{
    blob::{Digest, blob_id},
    config::{ConfigFile, DomainConfig, ImageSource, check_name},
    messages::{
        Created, Reply, RequestBody, RestoreBegin, RestoreCommit, RestoreFromStore,
        RestoreManifest, RestorePut,
    },
    snapshot::{FileError, KERNEL, Manifest, RAMDISK, SnapshotReader, Source},
};
use serde_json::json;
use std::{
    borrow::Borrow,
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// Bytes of the manifest sent at once.
const PIECE: usize = 32 * 1024;

/// `restore`; `connect` is called when the file is found to be whole.
pub(crate) fn restore<C: Borrow<Client>>(
    connect: impl FnOnce() -> Result<C, Problem>,
    output: Output,
    conf: &Conf,
    restore: &args::Restore,
) -> Result<(), Problem> {
    if let Some(name) = &restore.name {
        check_name(name)
            .map_err(|reason| Problem::new(reason).with_remedy("choose another name"))?;
    }
    let created = match restore.source.strip_prefix("store:") {
        Some(label) => from_store(connect()?.borrow(), restore, label)?,
        None => {
            let path = &source(conf, &restore.source);
            let (manifest, root) = verify(path).map_err(|problem| match conf.saved() {
                Ok(saved) if !Path::new(path).exists() => {
                    problem.with_remedy_if_none(&saved.meant(path))
                }
                _ => problem,
            })?;
            let client = connect()?;
            let client = client.borrow();
            check_arch(&manifest, &client.welcome().arch)?;
            offer_images(client, conf, &manifest)
                .and_then(|()| from_file(client, restore, path, root))
                .map_err(|problem| problem.if_interrupted("nothing was restored"))?
        }
    };
    created
        .warnings
        .iter()
        .for_each(|warning| note(&format!("xenman: warning: {}", harmless(warning))));
    output.either(
        &json!({ "domid": created.domid, "name": created.name, "warnings": created.warnings }),
        &format!(
            "restored domain '{}' with the number {}",
            harmless(&created.name),
            created.domid
        ),
    )
}

/// The file that is meant: one of this name, or the machine of this name that is saved on this computer.
fn source(conf: &Conf, name: &str) -> String {
    let found = conf.saved().ok().and_then(|saved| saved.find(name));
    let is_file = Path::new(name).exists() && !Path::new(name).is_dir();
    match found {
        Some(path) if !is_file => path.to_string_lossy().into_owned(),
        _ => name.to_owned(),
    }
}

fn from_store(client: &Client, restore: &args::Restore, label: &str) -> Result<Created, Problem> {
    let body = RequestBody::RestoreFromStore(RestoreFromStore {
        label: label.to_owned(),
        paused: restore.paused,
        name: restore.name.clone(),
    });
    let progress = Progress::count("restoring", 0);
    let reply = client.call_with_progress(body, |said| progress.report(said));
    created(reply.map_err(|error| Problem::from(error).if_interrupted(create::GOES_ON))?)
}

fn created(reply: Reply) -> Result<Created, Problem> {
    match reply {
        Reply::Created(created) => Ok(created),
        _ => Err(Problem::nonsense("a restored domain")),
    }
}

fn check_arch(manifest: &Manifest, arch: &str) -> Result<(), Problem> {
    if manifest.arch == arch {
        return Ok(());
    }
    Err(Problem::new(format!(
        "the snapshot is of an {} domain, and the host is {arch}",
        harmless(&manifest.arch)
    ))
    .with_remedy("restore it on a host of its own architecture"))
}

/// Reads the whole file for what can be wrong with it.
fn verify(path: &str) -> Result<(Manifest, Digest), Problem> {
    let (mut reader, length) = open(path)?;
    let progress = Progress::bytes("checking", length);
    let mut seen = 0;
    while reader
        .next_chunk()
        .map_err(|error| wrong(path, &error))?
        .is_some()
    {
        progress.add(4096.min(length.saturating_sub(seen)));
        seen += 4096;
    }
    let root = reader
        .root()
        .ok_or_else(|| Problem::nonsense("a snapshot"))?;
    Ok((reader.manifest().clone(), root))
}

/// Uploads what the domain was built from, as far as it is still here as it was then.
fn offer_images(client: &Client, conf: &Conf, manifest: &Manifest) -> Result<(), Problem> {
    let Some(config) = saved_config(manifest) else {
        return Ok(()); // xend says what is wrong with it.
    };
    let kernel = (KERNEL, Some(config.kernel));
    for (name, source) in [kernel, (RAMDISK, config.ramdisk)] {
        let (Some(ImageSource::File(path)), Some(id)) = (source, manifest.image(name)) else {
            continue;
        };
        let read = if name == KERNEL {
            create::read_kernel(conf, &path).map(|(_, bytes)| bytes)
        } else {
            create::read_ramdisk(&path)
        };
        if let Ok(bytes) = read
            && blob_id(&bytes) == id
        {
            upload(client, name, &bytes)?;
        }
    }
    Ok(())
}

fn saved_config(manifest: &Manifest) -> Option<DomainConfig> {
    let file = ConfigFile::parse("the saved configuration", &manifest.config).ok()?;
    let (config, _) = DomainConfig::from_file(&file).ok()?;
    Some(config)
}

fn from_file(
    client: &Client,
    restore: &args::Restore,
    path: &str,
    root: Digest,
) -> Result<Created, Problem> {
    let (mut reader, _) = open(path)?;
    let manifest = reader.manifest_bytes().to_vec();
    let begin = RestoreBegin {
        manifest_length: u32::try_from(manifest.len()).unwrap_or(u32::MAX),
        paused: restore.paused,
        name: restore.name.clone(),
    };
    let Reply::RestoreStarted(started) = client.call(RequestBody::RestoreBegin(begin))? else {
        return Err(Problem::nonsense("a restore that has begun"));
    };
    let number = started.restore;
    let sent = send_manifest(client, number, &manifest)
        .and_then(|()| send_chunks(client, number, &mut reader, path));
    // The session's end would do; but a refusal should not leave anything meanwhile.
    sent.inspect_err(|_| drop(client.call(RequestBody::RestoreAbort(number))))?;
    if reader.root() != Some(root) {
        drop(client.call(RequestBody::RestoreAbort(number)));
        return Err(Problem::new(format!("{path} changed while it was read")));
    }
    created(client.decide(RequestBody::RestoreCommit(RestoreCommit {
        restore: number,
        root,
    }))?)
}

fn send_manifest(client: &Client, restore: u32, manifest: &[u8]) -> Result<(), Problem> {
    let mut offset = 0u32;
    for piece in manifest.chunks(PIECE) {
        let body = RequestBody::RestoreManifest(RestoreManifest {
            restore,
            offset,
            bytes: piece.to_vec(),
        });
        client.call(body)?;
        offset = offset.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
    }
    Ok(())
}

fn send_chunks(
    client: &Client,
    restore: u32,
    reader: &mut SnapshotReader<FileSource>,
    path: &str,
) -> Result<(), Problem> {
    let progress = Progress::count("restoring", u64::from(reader.manifest().chunk_count()));
    let mut broken = None;
    let puts = std::iter::from_fn(|| match reader.next_chunk() {
        Ok(next) => next.map(|(index, chunk)| {
            RequestBody::RestorePut(RestorePut {
                restore,
                index,
                chunk,
            })
        }),
        Err(error) => {
            broken = Some(wrong(path, &error));
            None
        }
    });
    let sent: Result<(), LinkError> = client.call_many(puts, |_| {
        progress.add(1);
        Ok(())
    });
    sent?;
    broken.map_or(Ok(()), Err)
}

/// A file as a snapshot's source.
pub(crate) struct FileSource(BufReader<File>);

impl Source for FileSource {
    type Error = io::Error;

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// A saved machine up to its manifest, and the file's length.
pub(crate) fn open(path: &str) -> Result<(SnapshotReader<FileSource>, u64), Problem> {
    let failed = |error| {
        let problem = Problem::file("read", path, &error);
        let partial = format!("{path}.partial");
        if error.kind() == io::ErrorKind::NotFound && Path::new(&partial).exists() {
            problem.with_remedy(format!(
                "a save was interrupted: if its domain is gone, restore {partial}"
            ))
        } else {
            problem
        }
    };
    let file = File::open(path).map_err(failed)?;
    let length = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
    let source = FileSource(BufReader::with_capacity(1 << 20, file));
    let reader = SnapshotReader::new(source).map_err(|error| wrong(path, &error))?;
    Ok((reader, length))
}

fn wrong(path: &str, error: &FileError<io::Error>) -> Problem {
    let remedy = match error {
        FileError::NotASnapshot => "name a file that 'xenman save' wrote",
        FileError::Io(_) => "look at the disk",
        FileError::Unknown(_) => "use a later release of xenman",
        FileError::Manifest(mgmt_proto::snapshot::ManifestError::Future(_)) => {
            "use a later release of xenman and xend"
        }
        _ => "use another copy of the file; nothing was changed on the host",
    };
    Problem::new(format!("cannot restore {path}: {error}")).with_remedy(remedy)
}
