// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that make a domain from a description: `create` and `new`.

use argh::{ArgsInfo, FromArgs};
use mgmt_proto::config::Value;

/// Create and start a domain from an xl-style configuration file, or from an image in the host's store.
///
/// The kernel and ramdisk that a file names are files here, uploaded unless the host has them already, boot:NAME for a member of the
/// host's boot bundle, or store:NAME for an image's. Compressed kernels (bzImage, EFI zboot, gzip, zstd, xz, lz4) are unpacked here.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "create")]
pub(crate) struct Create {
    /// the configuration file, unless there is an image; then settings that count more, such as memory=512 or name=b
    #[argh(positional, arg_name = "file|key=value")]
    words: Vec<String>,
    /// the image to make it from, instead of a file; without both it is the default image
    #[argh(option)]
    image: Option<String>,
    /// its name; needed with an image
    #[argh(option)]
    name: Option<String>,
    /// its memory in MiB
    #[argh(option, arg_name = "mib")]
    memory: Option<u64>,
    /// its virtual CPUs
    #[argh(option, arg_name = "n")]
    vcpus: Option<u32>,
    /// leave the domain paused
    #[argh(switch, short = 'p')]
    pub(crate) paused: bool,
    /// attach to the domain's console
    #[argh(switch, short = 'c')]
    pub(crate) console: bool,
}

/// Define a domain without starting it, from a configuration file or from an image: the host keeps its configuration and its files.
///
/// The domain is managed from then on: it is started and stopped as often as wanted, by its name. The image it was made from may go.
#[derive(ArgsInfo, FromArgs, Debug)]
#[argh(subcommand, name = "new")]
pub(crate) struct New {
    /// the configuration file, unless there is an image; then settings that count more: they are kept with it
    #[argh(positional, arg_name = "file|key=value")]
    words: Vec<String>,
    /// the image to make it from, instead of a file; without both it is the default image
    #[argh(option)]
    image: Option<String>,
    /// its name; needed with an image
    #[argh(option)]
    name: Option<String>,
    /// its memory in MiB
    #[argh(option, arg_name = "mib")]
    memory: Option<u64>,
    /// its virtual CPUs
    #[argh(option, arg_name = "n")]
    vcpus: Option<u32>,
}

/// What a domain is described by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A configuration file.
    File(String),
    /// The template of an image, for a domain of this name; the default image, unless one is named.
    Image { image: Option<String>, name: String },
}

/// What a domain is described by, and what counts more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) source: Source,
    pub(crate) overrides: Vec<String>,
}

impl Create {
    /// What it is to be made from; or what is wrong with that.
    pub(crate) fn description(&self) -> Result<Description, &'static str> {
        let words = self.words.clone();
        let mut description = describe(words, self.image.as_ref(), self.name.as_ref())?;
        description.set(self.memory, self.vcpus);
        Ok(description)
    }
}

impl New {
    /// What it is to be made from; or what is wrong with that.
    pub(crate) fn description(&self) -> Result<Description, &'static str> {
        let words = self.words.clone();
        let mut description = describe(words, self.image.as_ref(), self.name.as_ref())?;
        description.set(self.memory, self.vcpus);
        Ok(description)
    }
}

impl Description {
    /// What was said with options counts most.
    fn set(&mut self, memory: Option<u64>, vcpus: Option<u32>) {
        let memory = memory.map(|mib| format!("memory={mib}"));
        let vcpus = vcpus.map(|count| format!("vcpus={count}"));
        self.overrides.extend(memory.into_iter().chain(vcpus));
    }
}

/// `words` are a file, unless there is an image, and settings.
fn describe(
    mut words: Vec<String>,
    image: Option<&String>,
    name: Option<&String>,
) -> Result<Description, &'static str> {
    let source = match (image, name) {
        (Some(_), _) if words.first().is_some_and(|word| !word.contains('=')) => {
            return Err("<file> and --image together are one too many");
        }
        (Some(_), None) => return Err("--image needs --name, the new domain's"),
        (Some(image), Some(name)) => Source::Image {
            image: Some(image.clone()),
            name: name.clone(),
        },
        (None, Some(name)) if words.first().is_none_or(|word| word.contains('=')) => {
            Source::Image {
                image: None,
                name: name.clone(),
            }
        }
        (None, _) if words.is_empty() => {
            return Err("<file> or --image is missing; --name alone means the default image");
        }
        (None, name) => {
            let file = words.remove(0);
            words.extend(name.map(|name| name_is(name)));
            Source::File(file)
        }
    };
    Ok(Description {
        source,
        overrides: words,
    })
}

/// A setting that gives a domain its name.
pub(crate) fn name_is(name: &str) -> String {
    format!("name={}", Value::String(name.to_owned()))
}
