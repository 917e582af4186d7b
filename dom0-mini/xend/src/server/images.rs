//! Images in the store: how one comes and goes, and how domains are made from it.
//!
//! Domains and definitions refer to the blobs of an image, not to the image: it can go, or another one can take its name,
//! and they keep what they were made from.

use super::Xend;
use super::store::{Then, What};
use crate::client::Client;
use crate::hypervisor::Hypervisor;
use crate::managed;
use crate::session::Ticket;
use crate::store::blobs::Blob;
use crate::store::content::Content;
use crate::store::files::Wish;
use crate::store::images::{FILE_NAME_MAX, FOLDER, IMAGES, Record};
use crate::store::volume::Change;
use crate::versioned::Version;
use alloc::boxed::Box;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use mgmt_proto::blob::BlobId;
use mgmt_proto::config::{ConfigFile, DomainConfig, ImageSource};
use mgmt_proto::messages::{
    ErrorCode, Failure, ImageAdd, ImagePart, ImageRole, MAX_DESCRIPTION, MAX_TEMPLATE, NamedBlob,
    Reply, check_image_name,
};

type Outcome = Option<Result<Reply, Failure>>;

impl<H: Hypervisor> Xend<H> {
    /// The image of this name.
    fn image(&self, name: &str) -> Result<Record, Failure> {
        let file = self.files.get(&path(name));
        file.and_then(Record::read)
            .ok_or_else(|| no_image(name, "no image"))
    }

    /// The part of an image that a configuration's key means.
    fn image_part(&self, name: &str, key: &str) -> Result<ImagePart, Failure> {
        let (role, what) = match key {
            "kernel" => (ImageRole::KERNEL, "no kernel in the image"),
            _ => (ImageRole::INITRD, "no initrd in the image"),
        };
        let image = self.image(name)?;
        let part = image.part(role);
        part.cloned().ok_or_else(|| no_image(name, what))
    }

    pub(super) fn image_list(&self) -> Reply {
        let files = self.files.under(FOLDER);
        let all = files.filter_map(|(name, file)| Some(Record::read(file)?.summary(name)));
        Reply::Images(all.collect())
    }

    pub(super) fn image_show(&self, name: String) -> Result<Reply, Failure> {
        let image = self.image(&name)?;
        Ok(Reply::Image(Box::new(image.image(name))))
    }

    pub(super) fn image_add(&mut self, ticket: Ticket, add: ImageAdd) -> Outcome {
        match self.admit_image(ticket, &add) {
            Ok(blobs) => self.keep_image(ticket, add, blobs).err().map(Err),
            Err(failure) => Some(Err(failure)),
        }
    }

    /// The content of an image that may be added.
    fn admit_image(
        &mut self,
        ticket: Ticket,
        add: &ImageAdd,
    ) -> Result<Vec<Rc<Blob<H::Frames>>>, Failure> {
        check_texts(add)?;
        check_parts(&add.parts)?;
        let (name, arch) = (&add.name, &self.facts.arch);
        if add.arch != *arch {
            let sentence = format!("the image is for {}, and this host is {arch}", add.arch);
            return Err(Failure::new(ErrorCode::BAD_IMAGE, sentence)
                .with_remedy(format!("name a kernel for {arch}")));
        }
        let path = path(name);
        if self.files.is_taken(&path) {
            let sentence = format!("there is an image '{name}' already");
            return Err(Failure::new(ErrorCode::NAME_IN_USE, sentence)
                .with_remedy("choose another name, or remove that image"));
        }
        if self.files.count(FOLDER) >= IMAGES {
            let sentence = format!("the store has {IMAGES} images already");
            return Err(Failure::new(ErrorCode::STORE, sentence)
                .with_remedy("remove one that is not needed any more"));
        }
        let client = self.client(ticket.session)?;
        let held = add.parts.iter().map(|part| held(client, part));
        held.collect()
    }

    fn keep_image(
        &mut self,
        ticket: Ticket,
        add: ImageAdd,
        blobs: Vec<Rc<Blob<H::Frames>>>,
    ) -> Result<(), Failure> {
        if let Ok(client) = self.client(ticket.session) {
            blobs.iter().for_each(|blob| client.release(&blob.id()));
        }
        let record = Record {
            version: Version,
            description: add.description,
            arch: add.arch,
            config: add.config,
            parts: add.parts,
            added_by: self.sessions.client_name(ticket.session),
            added_ns: self.now.wall_ns,
        };
        let change = Change::Put {
            path: path(&add.name),
            file: record.file(),
        };
        let wish = Wish::Change {
            changes: vec![change],
            blobs,
        };
        let then = Then {
            ticket,
            reply: Reply::Done,
            what: What::Image(add.name, record.added_by),
        };
        self.order(wish, then)
    }

    pub(super) fn image_remove(&mut self, ticket: Ticket, name: String) -> Outcome {
        let missing = no_image(&name, "no image");
        self.remove_file(ticket, path(&name), missing, What::NoImage(name))
    }

    /// What a configuration wants of images that has to be read from the disk first. Nothing if there is something wrong
    /// with it: that is told by who reads it next.
    pub(super) fn images_to_load(&mut self, origin: &str, text: &str) -> Vec<BlobId> {
        let config = ConfigFile::parse(origin, text)
            .ok()
            .and_then(|file| DomainConfig::from_file(&file).ok());
        let files = config.map(|(config, _)| self.image_files(&config));
        let blobs = files.into_iter().flatten().map(|file| file.blob);
        blobs.filter(|id| self.is_on_disk(id)).collect()
    }

    /// What a configuration names of images, for a definition to note.
    pub(super) fn image_files(&self, config: &DomainConfig) -> Vec<NamedBlob> {
        let file = |(key, source): (&str, &ImageSource)| match source {
            ImageSource::Store(name) => {
                let part = self.image_part(name, key).ok()?;
                Some(NamedBlob {
                    key: key.into(),
                    blob: part.blob,
                    length: part.length,
                })
            }
            ImageSource::File(_) | ImageSource::Boot(_) => None,
        };
        managed::sources(config).filter_map(file).collect()
    }

    /// A kernel or initrd that is an image's.
    pub(super) fn image_content(
        &mut self,
        name: &str,
        key: &str,
    ) -> Result<Content<H::Frames>, Failure> {
        let part = self.image_part(name, key)?;
        let found = self.blobs.find(&part.blob).map(Content::Blob);
        found.ok_or_else(|| {
            let sentence = format!("image '{name}' is on the disk, and not read yet");
            Failure::new(ErrorCode::BAD_IMAGE, sentence)
                .with_remedy("define a domain for it: it is read when that starts")
        })
    }
}

fn check_texts(add: &ImageAdd) -> Result<(), Failure> {
    let too_large = |sentence: String| Err(Failure::new(ErrorCode::TOO_LARGE, sentence));
    if let Err(why) = check_image_name(&add.name) {
        return Err(Failure::new(ErrorCode::BAD_REQUEST, why));
    }
    if add.description.len() > MAX_DESCRIPTION {
        return too_large(format!("a description has at most {MAX_DESCRIPTION} bytes"));
    }
    if add.config.len() > MAX_TEMPLATE {
        let kib = MAX_TEMPLATE / 1024;
        return too_large(format!("an image's configuration has at most {kib} KiB"));
    }
    if add.parts.iter().any(|part| part.file.len() > FILE_NAME_MAX) {
        return too_large(format!("a file's name has at most {FILE_NAME_MAX} bytes"));
    }
    Ok(())
}

/// Whether these parts make an image: a kernel, and nothing twice.
fn check_parts(parts: &[ImagePart]) -> Result<(), Failure> {
    let count = |role: ImageRole| parts.iter().filter(|part| part.role == role).count();
    let (kernels, initrds, disks) = (
        count(ImageRole::KERNEL),
        count(ImageRole::INITRD),
        count(ImageRole::DISK),
    );
    let known = kernels.saturating_add(initrds).saturating_add(disks);
    if kernels == 1 && initrds <= 1 && disks <= 1 && known == parts.len() {
        return Ok(());
    }
    let sentence = "an image has a kernel, and at most one initrd and one disk";
    Err(Failure::new(ErrorCode::BAD_REQUEST, sentence))
}

/// The content of a part, which a session holds.
fn held<F: AsRef<[u8]>>(client: &Client<F>, part: &ImagePart) -> Result<Rc<Blob<F>>, Failure> {
    let role = part.role.name();
    let blob = client.find(&part.blob);
    let blob = blob.filter(|blob| blob.length() == part.length);
    blob.map(Rc::clone).ok_or_else(|| {
        let sentence = format!("the session does not hold the image's {role}");
        Failure::new(ErrorCode::BAD_BLOB, sentence)
            .with_remedy("upload the file in the same session first")
    })
}

/// There is no such image, or `what` else is missing.
fn no_image(name: &str, what: &str) -> Failure {
    Failure::new(ErrorCode::BAD_IMAGE, format!("there is {what} '{name}'"))
        .with_remedy("'xenman image list' shows what there is")
}

fn path(name: &str) -> String {
    format!("{FOLDER}{name}")
}
