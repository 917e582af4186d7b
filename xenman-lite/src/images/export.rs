// SPDX-License-Identifier: MIT OR Apache-2.0
//! `image export`: an image as files, in the form of XenMan's image store.
//!
//! Every part is checked against its name while it is written. The files appear when all of them are complete; what is
//! there already is replaced only if the operator says so. Until then they have temporary names and are locked: those of an
//! export that was killed are not, and the next one into the folder removes them.

use super::fetch;
use crate::{
    args,
    link::{Client, LinkError},
    output::{Output, Progress},
    problem::Problem,
};
use mgmt_proto::{
    blob::{BlobHasher, chunk_count, chunk_length},
    messages::{BlobRead, Image, ImagePart, Reply, RequestBody},
};
use serde_json::json;
use std::{
    fs::{self, File, Permissions},
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// How the temporary names begin.
const TEMPORARY: &str = ".xenman-";

/// Files that are complete, and what they are to be called.
type Complete = Vec<(NamedTempFile, PathBuf)>;

pub(super) fn export(
    client: &Client,
    output: Output,
    export: &args::ImageExport,
) -> Result<(), Problem> {
    let image = fetch(client, &export.name)?;
    let folder = Path::new(&export.folder);
    let names = names(&image);
    if !export.force {
        refuse_to_replace(folder, &names)?;
    }
    let is_new = !folder.exists();
    fs::create_dir_all(folder).map_err(|error| Problem::file("make", &export.folder, &error))?;
    remove_remains(folder)?;
    let written = write(client, folder, &image).and_then(|files| publish(files, export.force));
    written.map_err(|problem| {
        // Unless it is empty it stays.
        drop(is_new.then(|| fs::remove_dir(folder)));
        problem.if_interrupted("nothing was written")
    })?;
    output.either(
        &json!({ "folder": export.folder, "files": names }),
        &format!("wrote {} into {}", names.join(", "), export.folder),
    )
}

fn names(image: &Image) -> Vec<&'static str> {
    let parts = image.parts.iter().map(|part| part.role.name());
    parts.chain(["image.conf", "vm_conf.template"]).collect()
}

fn refuse_to_replace(folder: &Path, names: &[&str]) -> Result<(), Problem> {
    let there = names.iter().map(|name| folder.join(name));
    let there = there
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok());
    there.map_or(Ok(()), |path| Err(is_there(&path)))
}

fn is_there(path: &Path) -> Problem {
    Problem::new(format!("{} is there already", path.display()))
        .with_remedy("name another folder, or say --force")
}

/// Writes all files, under names of their own.
fn write(client: &Client, folder: &Path, image: &Image) -> Result<Complete, Problem> {
    let mut files = Vec::new();
    for part in &image.parts {
        let path = folder.join(part.role.name());
        let mut file = temporary(folder)?;
        download(client, part, &mut file)?;
        files.push((file, path));
    }
    let texts = [
        ("image.conf", image_conf(image)),
        ("vm_conf.template", image.config.clone()),
    ];
    for (name, text) in texts {
        let mut file = temporary(folder)?;
        file.write_all(text.as_bytes())
            .map_err(|error| cannot_write(&error))?;
        files.push((file, folder.join(name)));
    }
    Ok(files)
}

/// Removes what an export left behind that was killed.
fn remove_remains(folder: &Path) -> Result<(), Problem> {
    let failed = |error| Problem::file("look into", &folder.to_string_lossy(), &error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY.as_bytes());
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        // Whoever still writes to it has it locked.
        let is_free = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if is_ours && is_file && is_free() {
            drop(fs::remove_file(entry.path()));
        }
    }
    Ok(())
}

fn temporary(folder: &Path) -> Result<NamedTempFile, Problem> {
    let failed = |error| Problem::file("write into", &folder.to_string_lossy(), &error);
    let file = tempfile::Builder::new()
        .prefix(TEMPORARY)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(failed)?;
    // Not every file system has locks; without one only a second export at the same time is in danger.
    drop(file.as_file().try_lock());
    Ok(file)
}

/// Reads a part into a file, chunk by chunk, and checks that it is what its name says.
fn download(client: &Client, part: &ImagePart, file: &mut NamedTempFile) -> Result<(), Problem> {
    let progress = Progress::bytes(part.role.name(), part.length);
    let count = u32::try_from(chunk_count(part.length)).unwrap_or(u32::MAX);
    let reads = (0..count).map(|index| {
        RequestBody::BlobRead(BlobRead {
            id: part.blob,
            index,
        })
    });
    let mut file = BufWriter::new(file);
    let mut hasher = BlobHasher::new(part.length);
    let mut lengths = (0u64..).map_while(|index| chunk_length(part.length, index));
    let mut trouble = None;
    let read = client.call_many(reads, |reply| {
        let written = write_chunk(reply, lengths.next(), &mut hasher, &mut file);
        let written = written.map(|length| progress.add(length));
        written.map_err(|problem| {
            let message = problem.message.clone();
            trouble = Some(problem);
            LinkError::Nonsense(message)
        })
    });
    match trouble {
        Some(problem) => return Err(problem),
        None => read?,
    }
    if hasher.finish() != part.blob {
        return Err(damaged(part.role.name()));
    }
    client.call(RequestBody::BlobRelease(part.blob))?;
    file.flush().map_err(|error| cannot_write(&error))
}

/// Writes one chunk; its length.
fn write_chunk(
    reply: Reply,
    length: Option<usize>,
    hasher: &mut BlobHasher,
    file: &mut impl Write,
) -> Result<u64, Problem> {
    let (Reply::Chunk(chunk), Some(length)) = (reply, length) else {
        return Err(Problem::nonsense("a chunk of a blob"));
    };
    let raw = chunk.decode(length);
    let raw = raw.map_err(|error| damaged(&error.to_string()))?;
    hasher.chunk(&chunk.id);
    file.write_all(&raw).map_err(|error| cannot_write(&error))?;
    Ok(length as u64)
}

fn damaged(what: &str) -> Problem {
    Problem::new(format!("the image arrived damaged: {what}")).with_remedy("try again")
}

fn cannot_write(error: &std::io::Error) -> Problem {
    Problem::file("write", "the image", error)
}

/// Gives the files their names, once they are on this machine's disk.
fn publish(files: Complete, force: bool) -> Result<(), Problem> {
    for (file, _) in &files {
        let synced = file.as_file().sync_all();
        synced.map_err(|error| cannot_write(&error))?;
    }
    for (file, path) in files {
        let persisted = if force {
            file.persist(&path)
        } else {
            file.persist_noclobber(&path)
        };
        persisted.map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => is_there(&path),
            _ => Problem::file("write", &path.to_string_lossy(), &error.error),
        })?;
    }
    Ok(())
}

/// What XenMan knew of an image, and what is known here.
fn image_conf(image: &Image) -> String {
    let mut text = String::new();
    let mut set = |key: &str, value: &str| {
        text.push_str(&format!("{key}={}\n", quoted(value)));
    };
    set("image_name", &image.name);
    set("description", &image.description);
    set("arch", &image.arch);
    for part in &image.parts {
        let name = part.role.name();
        let key = match name {
            "initrd" => "ramdisk",
            name => name,
        };
        set(&format!("{key}_src"), name);
        set(&format!("{key}_file"), &part.file);
        set(&format!("{key}_blake3"), &part.blob.to_string());
    }
    text
}

/// A value as a shell and XenMan read it.
fn quoted(value: &str) -> String {
    let value: String = value
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("'{}'", value.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_description_does_nothing_to_a_shell() {
        assert_eq!(quoted("Ada's $(x)\nimage"), "'Ada'\\''s $(x) image'");
    }
}
