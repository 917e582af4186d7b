// SPDX-License-Identifier: MIT OR Apache-2.0
//! `create` and `config check`: everything that can be found wrong here is found before xend is asked.

use crate::{
    args, console,
    image::{Kernel, check_initrd, prepare_kernel},
    link::Client,
    output::{Output, Progress, harmless, note},
    problem::Problem,
    upload::upload,
};
use mgmt_proto::{
    config::{ConfigError, ConfigFile, DomainConfig, ImageSource, MAX_TEXT, Warning},
    messages::{Create, MAX_CONFIG, NamedBlob, Reply, RequestBody},
};
use serde_json::json;
use std::{fs::File, io::Read, sync::Arc};

/// The largest kernel or ramdisk read.
const MAX_IMAGE: u64 = 1 << 30;

/// A configuration and the files it names, checked.
pub(crate) struct Prepared {
    file: ConfigFile,
    warnings: Vec<String>,
    kernel: Option<(String, Kernel, Vec<u8>)>,
    ramdisk: Option<Vec<u8>>,
}

/// `config check`.
pub(crate) fn check(check: &args::ConfigCheck, output: Output) -> Result<(), Problem> {
    let (_, config, warnings) = read_config(&check.file, &check.overrides)?;
    let warnings = tell(&warnings);
    output.either(
        &json!({ "name": config.name, "warnings": warnings }),
        &format!(
            "{}: domain '{}' is described well",
            check.file,
            harmless(&config.name)
        ),
    )
}

/// Reads and checks what `create` is to send.
pub(crate) fn prepare(create: &args::Create) -> Result<Prepared, Problem> {
    let (file, config, warnings) = read_config(&create.file, &create.overrides)?;
    let warnings = tell(&warnings);
    if file.text().len() > MAX_CONFIG {
        return Err(Problem::new(format!(
            "{}: a host takes configurations of at most {} KiB",
            create.file,
            MAX_CONFIG / 1024
        ))
        .with_remedy("shorten its comments"));
    }
    let kernel = match &config.kernel {
        ImageSource::File(path) => {
            let (kernel, bytes) = read_kernel(path)?;
            Some((path.clone(), kernel, bytes))
        }
        ImageSource::Boot(_) | ImageSource::Store(_) => None,
    };
    let ramdisk = match &config.ramdisk {
        Some(ImageSource::File(path)) => Some(read_ramdisk(path)?),
        Some(ImageSource::Boot(_) | ImageSource::Store(_)) | None => None,
    };
    Ok(Prepared {
        file,
        warnings,
        kernel,
        ramdisk,
    })
}

/// Uploads what xend lacks and creates the domain.
pub(crate) fn create(
    client: &Arc<Client>,
    output: Output,
    create: &args::Create,
    prepared: Prepared,
) -> Result<(), Problem> {
    if create.console && create.paused {
        return Err(
            Problem::usage("--console and --paused together leave nothing to see")
                .with_remedy("use 'xenman unpause' and 'xenman console' afterwards"),
        );
    }
    let files = upload_files(client, &prepared)?;
    let body = RequestBody::Create(Create {
        config: prepared.file.text().to_owned(),
        origin: prepared.file.origin().to_owned(),
        files,
        paused: create.paused,
    });
    let progress = Progress::count("creating", 0);
    let reply = client.call_with_progress(body, |said| progress.report(said))?;
    drop(progress);
    let Reply::Created(created) = reply else {
        return Err(Problem::nonsense("a new domain"));
    };
    let more = created
        .warnings
        .iter()
        .filter(|warning| !prepared.warnings.contains(warning));
    more.for_each(|warning| note(&format!("xenman: warning: {}", harmless(warning))));
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

fn upload_files(client: &Client, prepared: &Prepared) -> Result<Vec<NamedBlob>, Problem> {
    let mut files = Vec::new();
    if let Some((path, kernel, bytes)) = &prepared.kernel {
        kernel.check_arch(path, &client.welcome().arch)?;
        files.push(upload(client, "kernel", bytes)?);
    }
    if let Some(bytes) = &prepared.ramdisk {
        files.push(upload(client, "ramdisk", bytes)?);
    }
    Ok(files)
}

/// A configuration file of at most `max` bytes.
pub(crate) fn read_text(path: &str, max: u64) -> Result<String, Problem> {
    String::from_utf8(read(path, max)?).map_err(|_| {
        Problem::new(format!("{path} is not a text in UTF-8"))
            .with_remedy("is this a configuration file?")
    })
}

fn read_config(
    path: &str,
    overrides: &[String],
) -> Result<(ConfigFile, DomainConfig, Vec<Warning>), Problem> {
    let text = read_text(path, MAX_TEXT as u64).map_err(|problem| {
        problem.with_remedy_if_none("name the configuration file of a domain")
    })?;
    let file =
        ConfigFile::parse_with(path, &text, overrides).map_err(|error| config_problem(&[error]))?;
    let (config, warnings) =
        DomainConfig::from_file(&file).map_err(|errors| config_problem(&errors))?;
    Ok((file, config, warnings))
}

/// All errors of a configuration as one problem; each carries its own remedy.
fn config_problem(errors: &[ConfigError]) -> Problem {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    Problem::new(lines.join("\nxenman: "))
}

/// Tells warnings, and returns them as they were told.
fn tell(warnings: &[Warning]) -> Vec<String> {
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    told.iter()
        .for_each(|warning| note(&format!("xenman: warning: {}", harmless(warning))));
    told
}

/// Reads a kernel, checks and unpacks it.
pub(crate) fn read_kernel(path: &str) -> Result<(Kernel, Vec<u8>), Problem> {
    prepare_kernel(path, read_image("kernel", path)?)
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
fn read(path: &str, most: u64) -> Result<Vec<u8>, Problem> {
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
