// SPDX-License-Identifier: MIT OR Apache-2.0
//! `image` and the verbs below it.

use argh::{ArgsInfo, FromArgs};

/// Images in the host's store: a kernel, an initrd and a configuration that domains are made from (create --image, new --image).
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "image")]
pub(crate) struct Image {
    #[argh(subcommand)]
    pub(crate) verb: ImageVerb,
}

#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand)]
pub(crate) enum ImageVerb {
    Add(ImageAdd),
    List(ImageList),
    Show(ImageShow),
    Rm(ImageRm),
    Export(ImageExport),
    Default(ImageDefault),
}

/// Add an image to the host's store. What the host has already is not sent again.
///
/// The configuration is a domain's, with variables in it: $VM_NAME, $IMAGE_NAME, $IMAGE_LOCATION (for kernel and ramdisk),
/// $VM_DISKS_DIR, $AUTOGEN_MAC, $DEFAULT_BRIDGE, and $$ for a dollar. A disk is kept, and exported; no domain can use it yet.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "add")]
pub(crate) struct ImageAdd {
    /// its name
    #[argh(positional)]
    pub(crate) name: String,
    /// the kernel; a compressed one is unpacked here
    #[argh(option, arg_name = "file")]
    pub(crate) kernel: String,
    /// the initrd
    #[argh(option, arg_name = "file")]
    pub(crate) initrd: Option<String>,
    /// a disk's content
    #[argh(option, arg_name = "file")]
    pub(crate) disk: Option<String>,
    /// the configuration of domains made from it (default: 256 MiB of memory, and the console)
    #[argh(option, arg_name = "file")]
    pub(crate) config: Option<String>,
    /// what it is
    #[argh(option, arg_name = "text", default = "String::new()")]
    pub(crate) description: String,
}

/// List the images in the host's store.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "list")]
pub(crate) struct ImageList {}

/// Show an image: its parts and its configuration.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "show")]
pub(crate) struct ImageShow {
    /// its name
    #[argh(positional)]
    pub(crate) name: String,
}

/// Remove an image from the host's store. Domains that were made from it keep what they need.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "rm")]
pub(crate) struct ImageRm {
    /// its name
    #[argh(positional)]
    pub(crate) name: String,
}

/// Show or set the image that domains are made from where none is named (create --name NAME). It is written into xenman.conf.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "default")]
pub(crate) struct ImageDefault {
    /// its name
    #[argh(positional)]
    pub(crate) name: Option<String>,
}

/// Write an image into a folder: its parts, image.conf and vm_conf.template. What arrives damaged is not written.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "export")]
pub(crate) struct ImageExport {
    /// its name
    #[argh(positional)]
    pub(crate) name: String,
    /// the folder; it is made if it is not there
    #[argh(positional, arg_name = "dir")]
    pub(crate) folder: String,
    /// replace files that are there
    #[argh(switch)]
    pub(crate) force: bool,
}
