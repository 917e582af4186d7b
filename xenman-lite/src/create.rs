// SPDX-License-Identifier: MIT OR Apache-2.0
//! `create` and `config check`: everything that can be found wrong here is found before xend is asked.

use crate::{
    args,
    cache::Cache,
    conf::Conf,
    console, disks,
    image::{Kernel, check_initrd, is_packed, prepare_kernel},
    link::Client,
    output::{Output, Progress, harmless, note},
    problem::Problem,
    upload::upload,
};
use mgmt_proto::{
    blob::Digest,
    config::{ConfigError, ConfigFile, DomainConfig, ImageSource, MAX_TEXT, Warning},
    messages::{self, Create, Created, MAX_CONFIG, NamedBlob, Reply, RequestBody},
};
use serde_json::json;
use std::{fs::File, io::Read, sync::Arc};

/// What is said of work that the host does by itself once it was asked.
pub(crate) const GOES_ON: &str =
    "the host may go on with it: 'xenman list' shows what became of it";

/// The largest kernel or ramdisk read.
const MAX_IMAGE: u64 = 1 << 30;

/// A configuration and the files it names, checked.
pub(crate) struct Prepared {
    file: ConfigFile,
    /// The file as it is, with overrides if there are any.
    written: String,
    warnings: Vec<String>,
    kernel: Option<(String, Kernel, Vec<u8>)>,
    ramdisk: Option<Vec<u8>>,
}

impl Prepared {
    /// The configuration as it was written.
    pub(crate) fn written(&self) -> &str {
        &self.written
    }

    /// The file's name.
    pub(crate) fn origin(&self) -> &str {
        self.file.origin()
    }

    /// Tells the warnings.
    pub(crate) fn tell(&self) {
        tell(&self.warnings);
    }

    /// Tells the warnings that were not told yet.
    pub(crate) fn tell_more(&self, warnings: &[String]) {
        let more = warnings
            .iter()
            .filter(|warning| !self.warnings.contains(warning));
        more.for_each(|warning| note(&format!("xenman: warning: {}", harmless(warning))));
    }
}

/// `config check`.
pub(crate) fn check(check: &args::ConfigCheck, conf: &Conf, output: Output) -> Result<(), Problem> {
    let text = read_config_text(&check.file)?;
    let Parsed {
        config, warnings, ..
    } = parse(conf, &check.file, &text, &check.overrides)?;
    let warnings = as_text(&warnings);
    tell(&warnings);
    output.either(
        &json!({ "name": config.name, "warnings": warnings }),
        &format!(
            "{}: domain '{}' is described well",
            check.file,
            harmless(&config.name)
        ),
    )
}

/// Reads and checks what `create` or `new` is to send.
pub(crate) fn prepare(conf: &Conf, path: &str, overrides: &[String]) -> Result<Prepared, Problem> {
    let text = read_config_text(path)?;
    prepare_text(conf, path, &text, overrides)
}

/// Checks a configuration that `create` or `new` is to send; `path` is its name in messages.
pub(crate) fn prepare_text(
    conf: &Conf,
    path: &str,
    text: &str,
    overrides: &[String],
) -> Result<Prepared, Problem> {
    let parsed = parse(conf, path, text, overrides)?;
    check_length(path, parsed.file.text())?;
    let (kernel, ramdisk) = read_images(conf, &parsed.config, |_, _| true)?;
    Ok(Prepared {
        file: parsed.file,
        written: parsed.written,
        warnings: as_text(&parsed.warnings),
        kernel,
        ramdisk,
    })
}

/// Whether a host takes a configuration of this length.
pub(crate) fn check_length(path: &str, text: &str) -> Result<(), Problem> {
    if text.len() <= MAX_CONFIG {
        return Ok(());
    }
    Err(Problem::new(format!(
        "{path}: a host takes configurations of at most {} KiB",
        MAX_CONFIG / 1024
    ))
    .with_remedy("shorten its comments"))
}

/// A kernel: its name, what it is, its bytes.
type NamedKernel = (String, Kernel, Vec<u8>);

/// Reads the files that a configuration names and `is_wanted` says are wanted, by key and source.
fn read_images(
    conf: &Conf,
    config: &DomainConfig,
    is_wanted: impl Fn(&str, &ImageSource) -> bool,
) -> Result<(Option<NamedKernel>, Option<Vec<u8>>), Problem> {
    let kernel = match &config.kernel {
        source @ ImageSource::File(path) if is_wanted("kernel", source) => {
            let (kernel, bytes) = read_kernel(conf, path)?;
            Some((path.clone(), kernel, bytes))
        }
        _ => None,
    };
    let ramdisk = match &config.ramdisk {
        Some(source @ ImageSource::File(path)) if is_wanted("ramdisk", source) => {
            Some(read_ramdisk(path)?)
        }
        _ => None,
    };
    Ok((kernel, ramdisk))
}

/// Uploads what xend lacks and creates the domain.
pub(crate) fn create(
    client: &Arc<Client>,
    output: Output,
    create: &args::Create,
    prepared: &Prepared,
) -> Result<(), Problem> {
    refuse_console_of_paused(create.console, create.paused)?;
    let progress = Progress::count("creating", 0);
    let created = build(client, prepared, create.paused, |said| {
        progress.report(said);
    });
    drop(progress);
    let created = created?;
    prepared.tell_more(&created.warnings);
    if !create.console || output.json {
        output.either(
            &json!({ "domid": created.domid, "name": created.name, "warnings": created.warnings }),
            &format!(
                "created domain '{}' with the number {}",
                harmless(&created.name),
                created.domid
            ),
        )?;
    }
    if create.console {
        console::attach(client, &created.name, console::LINGER)
    } else {
        Ok(())
    }
}

/// Uploads what xend lacks and has the domain built.
pub(crate) fn build(
    client: &Client,
    prepared: &Prepared,
    paused: bool,
    on_progress: impl FnMut(&messages::Progress),
) -> Result<Created, Problem> {
    let files = upload_files(client, prepared)?;
    let body = RequestBody::Create(Create {
        config: prepared.file.text().to_owned(),
        origin: prepared.file.origin().to_owned(),
        files,
        paused,
    });
    let reply = client.call_with_progress(body, on_progress);
    match reply.map_err(|error| Problem::from(error).if_interrupted(GOES_ON))? {
        Reply::Created(created) => Ok(created),
        _ => Err(Problem::nonsense("a new domain")),
    }
}

/// A paused domain says nothing.
pub(crate) fn refuse_console_of_paused(console: bool, paused: bool) -> Result<(), Problem> {
    if !(console && paused) {
        return Ok(());
    }
    Err(
        Problem::usage("--console and --paused together leave nothing to see")
            .with_remedy("use 'xenman unpause' and 'xenman console' afterwards"),
    )
}

/// Makes sure that this session holds the files that were read.
pub(crate) fn upload_files(
    client: &Client,
    prepared: &Prepared,
) -> Result<Vec<NamedBlob>, Problem> {
    upload_images(
        client,
        prepared.kernel.as_ref(),
        prepared.ramdisk.as_deref(),
    )
}

fn upload_images(
    client: &Client,
    kernel: Option<&NamedKernel>,
    ramdisk: Option<&[u8]>,
) -> Result<Vec<NamedBlob>, Problem> {
    let mut files = Vec::new();
    if let Some((path, kernel, bytes)) = kernel {
        kernel.check_arch(path, &client.welcome().arch)?;
        files.push(upload(client, "kernel", bytes)?);
    }
    if let Some(bytes) = ramdisk {
        files.push(upload(client, "ramdisk", bytes)?);
    }
    Ok(files)
}

/// Uploads the files that a configuration names and another one does not.
pub(crate) fn upload_what_is_new(
    client: &Client,
    conf: &Conf,
    config: &DomainConfig,
    before: Option<&DomainConfig>,
) -> Result<Vec<NamedBlob>, Problem> {
    let (kernel, ramdisk) = read_images(conf, config, |key, source| {
        let named = before.and_then(|before| match key {
            "kernel" => Some(&before.kernel),
            _ => before.ramdisk.as_ref(),
        });
        named != Some(source)
    })?;
    upload_images(client, kernel.as_ref(), ramdisk.as_deref())
}

/// A configuration file of at most `max` bytes.
pub(crate) fn read_text(path: &str, max: u64) -> Result<String, Problem> {
    String::from_utf8(read(path, max)?).map_err(|_| {
        Problem::new(format!("{path} is not a text in UTF-8"))
            .with_remedy("is this a configuration file?")
    })
}

/// A configuration, its meaning and what to know about it.
pub(crate) struct Parsed {
    pub(crate) file: ConfigFile,
    /// The text as it is, with overrides if there are any.
    pub(crate) written: String,
    pub(crate) config: DomainConfig,
    warnings: Vec<Warning>,
}

pub(crate) fn read_config_text(path: &str) -> Result<String, Problem> {
    read_text(path, MAX_TEXT as u64)
        .map_err(|problem| problem.with_remedy_if_none("name the configuration file of a domain"))
}

/// Reads a configuration, with disks in place of their names; everything that is wrong with it in one problem.
pub(crate) fn parse(
    conf: &Conf,
    path: &str,
    text: &str,
    overrides: &[String],
) -> Result<Parsed, Problem> {
    let failed = |error| config_problem(&[error]);
    let mut file = ConfigFile::parse_with(path, text, overrides).map_err(failed)?;
    let edits = disks::edits(conf, &file)?;
    if !edits.is_empty() {
        file = ConfigFile::parse(path, &disks::apply(file.text(), &edits)).map_err(failed)?;
    }
    let (config, warnings) =
        DomainConfig::from_file(&file).map_err(|errors| config_problem(&errors))?;
    let written = match overrides {
        [] => disks::apply(text, &edits),
        _ => file.text().to_owned(),
    };
    Ok(Parsed {
        file,
        written,
        config,
        warnings,
    })
}

/// All errors of a configuration as one problem; each carries its own remedy.
fn config_problem(errors: &[ConfigError]) -> Problem {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Problem::new(lines.join("\nxenman: "))
}

fn as_text(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(ToString::to_string).collect()
}

fn tell(warnings: &[String]) {
    let told = warnings.iter();
    told.for_each(|warning| note(&format!("xenman: warning: {}", harmless(warning))));
}

/// What a configuration's reader says about the number of a key.
pub(crate) fn check_number(key: &str, number: &str) -> Result<(), String> {
    let text = "name = \"x\"\nkernel = \"x\"\nmemory = 1\n";
    let file = ConfigFile::parse_with("", text, &[format!("{key}={number}")]);
    let file = file.map_err(|error| error.message)?;
    let errors = DomainConfig::from_file(&file).err();
    let first = errors.and_then(|errors| errors.into_iter().next());
    first.map_or(Ok(()), |error| Err(error.message))
}

/// Reads a kernel, checks and unpacks it.
pub(crate) fn read_kernel(conf: &Conf, path: &str) -> Result<(Kernel, Vec<u8>), Problem> {
    unpack_kernel(conf, path, read_image("kernel", path)?)
}

/// Checks and unpacks a kernel, unless it is known what it unpacks to.
pub(crate) fn unpack_kernel(
    conf: &Conf,
    path: &str,
    bytes: Vec<u8>,
) -> Result<(Kernel, Vec<u8>), Problem> {
    if !is_packed(&bytes) {
        return prepare_kernel(path, bytes);
    }
    let (cache, packed) = (Cache::new(conf.home()), Digest::of_chunk(&bytes));
    let known = cache.get(packed);
    if let Some(Ok(known)) = known.map(|unpacked| prepare_kernel(path, unpacked)) {
        return Ok(known);
    }
    let (kernel, unpacked) = prepare_kernel(path, bytes)?;
    cache.put(packed, &unpacked);
    Ok((kernel, unpacked))
}

/// Reads and checks a ramdisk.
pub(crate) fn read_ramdisk(path: &str) -> Result<Vec<u8>, Problem> {
    let bytes = read_image("ramdisk", path)?;
    check_initrd(path, &bytes)?;
    Ok(bytes)
}

fn read_image(key: &str, path: &str) -> Result<Vec<u8>, Problem> {
    let remedy =
        format!("look at '{key}' in the configuration; paths start from the current directory");
    read(path, MAX_IMAGE).map_err(|problem| problem.with_remedy(remedy))
}

/// Reads a file of at most `most` bytes, and not for ever from something that has no end.
pub(crate) fn read(path: &str, most: u64) -> Result<Vec<u8>, Problem> {
    let failed = |error| Problem::file("read", path, &error);
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > most {
        return Err(Problem::new(format!(
            "cannot read {path}: it is longer than {} KiB",
            most / 1024
        )));
    }
    Ok(bytes)
}
