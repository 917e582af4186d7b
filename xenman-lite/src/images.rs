// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images in the host's store: `image add|list|show|rm|export`, and domains made from them.

mod export;
mod template;

use crate::{
    args::{self, ImageVerb},
    conf::Conf,
    create::{Prepared, prepare_text, read, read_text, unpack_kernel},
    image::{Kernel, check_initrd},
    link::Client,
    output::{Output, Progress, harmless, note, size},
    problem::Problem,
    upload::upload,
};
use mgmt_proto::{
    config::{ConfigFile, DomainConfig},
    messages::{
        Image, ImageAdd, ImagePart, ImageRole, ImageSummary, MAX_DESCRIPTION, MAX_TEMPLATE, Reply,
        RequestBody, check_image_name,
    },
};
use serde_json::{Value, json};
use std::path::Path;
use template::Values;
pub(crate) use template::check as check_domain_name;

/// The longest part read.
const MAX_PART: u64 = 1 << 30;

/// An image that can be added, as far as can be seen here.
pub(crate) struct NewImage {
    name: String,
    description: String,
    config: String,
    kernel: (String, Kernel),
    parts: Vec<(ImageRole, String, Vec<u8>)>,
}

/// Reads and checks what `image add` is to send.
pub(crate) fn prepare(conf: &Conf, add: &args::ImageAdd) -> Result<NewImage, Problem> {
    check_image_name(&add.name)
        .map_err(|why| Problem::new(why).with_remedy("choose another name"))?;
    if add.description.len() > MAX_DESCRIPTION {
        let message = format!("a description has at most {MAX_DESCRIPTION} bytes");
        return Err(Problem::new(message).with_remedy("shorten it"));
    }
    let config = config(add)?;
    let (kernel, bytes) = read_kernel(conf, &add.kernel)?;
    let mut parts = vec![(ImageRole::KERNEL, add.kernel.clone(), bytes)];
    if let Some(path) = &add.initrd {
        let bytes = read_part("initrd", path)?;
        check_initrd(path, &bytes).map_err(|problem| {
            problem.with_remedy("build it anew, or name another file with --initrd")
        })?;
        parts.push((ImageRole::INITRD, path.clone(), bytes));
    }
    if let Some(path) = &add.disk {
        parts.push((ImageRole::DISK, path.clone(), read_part("disk", path)?));
    }
    Ok(NewImage {
        name: add.name.clone(),
        description: add.description.clone(),
        config,
        kernel: (add.kernel.clone(), kernel),
        parts,
    })
}

fn read_kernel(conf: &Conf, path: &str) -> Result<(Kernel, Vec<u8>), Problem> {
    let read = unpack_kernel(conf, path, read_part("kernel", path)?);
    read.map_err(|problem| {
        problem.with_remedy("fetch or build it anew, or name another file with --kernel")
    })
}

fn read_part(option: &str, path: &str) -> Result<Vec<u8>, Problem> {
    let bytes = read(path, MAX_PART)
        .map_err(|problem| problem.with_remedy(format!("look at --{option}")))?;
    if bytes.is_empty() {
        return Err(Problem::new(format!("{path} is empty")));
    }
    Ok(bytes)
}

/// The template: the operator's, if there is nothing wrong with it, or the default.
fn config(add: &args::ImageAdd) -> Result<String, Problem> {
    let Some(path) = &add.config else {
        return Ok(template::default(add.initrd.is_some()));
    };
    let config = read_text(path, MAX_TEMPLATE as u64)?;
    let text = template::render(path, &config, &Values::new(&add.name, "example", None)?)?;
    let file = ConfigFile::parse(path, &text);
    let file = file.map_err(|error| Problem::new(error.to_string()))?;
    // What it asks for may come with a later release: a domain made from it is refused as long.
    for error in DomainConfig::from_file(&file).err().into_iter().flatten() {
        note(&format!(
            "xenman: warning: {}",
            harmless(&error.to_string())
        ));
    }
    Ok(config)
}

/// `image add`: uploads what xend lacks, and leaves the image with it.
pub(crate) fn add(client: &Client, output: Output, new: NewImage) -> Result<(), Problem> {
    let (path, kernel) = &new.kernel;
    let arch = client.welcome().arch.clone();
    kernel
        .check_arch(path, &arch)
        .map_err(|problem| problem.with_remedy("name another file with --kernel"))?;
    let parts = new.parts.iter().map(|(role, path, bytes)| {
        let blob = upload(client, role.name(), bytes)?;
        Ok(ImagePart {
            role: *role,
            file: file_name(path),
            blob: blob.blob,
            length: blob.length,
        })
    });
    let parts: Vec<ImagePart> = parts.collect::<Result<_, Problem>>()?;
    let told: Vec<String> = parts.iter().map(short).collect();
    let body = RequestBody::ImageAdd(ImageAdd {
        name: new.name.clone(),
        description: new.description,
        arch,
        config: new.config,
        parts,
    });
    let progress = Progress::count("storing", 0);
    client.call_with_progress(body, |said| progress.report(said))?;
    drop(progress);
    output.either(
        &json!({ "name": new.name }),
        &format!("added image '{}': {}", new.name, told.join(", ")),
    )
}

/// The last part of a path, as far as it is text.
fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn short(part: &ImagePart) -> String {
    format!("{} {}", part.role.name(), kib(part.length))
}

fn kib(bytes: u64) -> String {
    size(bytes.div_ceil(1024))
}

/// `image default`.
pub(crate) fn default(
    conf: &Conf,
    output: Output,
    default: &args::ImageDefault,
) -> Result<(), Problem> {
    let Some(name) = &default.name else {
        let name = conf.default_image()?;
        let text = name.as_deref().unwrap_or("there is no default image");
        return output.either(&json!({ "default_image": name }), &harmless(text));
    };
    check_image_name(name).map_err(|why| Problem::new(why).with_remedy("name an image"))?;
    let path = conf.set_default_image(name)?;
    output.either(
        &json!({ "default_image": name, "file": path.to_string_lossy() }),
        &format!("'{name}' is the default image, says {}", path.display()),
    )
}

/// The verbs of `image` that are all about the host.
pub(crate) fn image(client: &Client, output: Output, verb: &ImageVerb) -> Result<(), Problem> {
    match verb {
        ImageVerb::Add(_) | ImageVerb::Default(_) => Ok(()),
        ImageVerb::List(_) => list(client, output),
        ImageVerb::Show(it) => show(client, output, &it.name),
        ImageVerb::Rm(it) => {
            client.call(RequestBody::ImageRemove(it.name.clone()))?;
            output.done()
        }
        ImageVerb::Export(it) => export::export(client, output, it),
    }
}

fn list(client: &Client, output: Output) -> Result<(), Problem> {
    let Reply::Images(images) = client.call(RequestBody::ImageList)? else {
        return Err(Problem::nonsense("a list of images"));
    };
    if output.json {
        return output.json(&images.iter().map(summary_json).collect());
    }
    let rows: Vec<Vec<String>> = images.iter().map(row).collect();
    output.table(
        &["Name", "Architecture", "Parts", "Size", "Description"],
        &["Size"],
        &rows,
    )
}

fn row(image: &ImageSummary) -> Vec<String> {
    vec![
        image.name.clone(),
        image.arch.clone(),
        roles(image).join(", "),
        kib(image.length),
        image.description.clone(),
    ]
}

fn roles(image: &ImageSummary) -> Vec<&'static str> {
    image.roles.iter().map(|role| role.name()).collect()
}

fn summary_json(image: &ImageSummary) -> Value {
    json!({
        "name": image.name,
        "description": image.description,
        "arch": image.arch,
        "parts": roles(image),
        "length": image.length,
        "added_ns": image.added_ns,
    })
}

fn fetch(client: &Client, name: &str) -> Result<Image, Problem> {
    match client.call(RequestBody::ImageShow(name.to_owned()))? {
        Reply::Image(image) => Ok(*image),
        _ => Err(Problem::nonsense("an image")),
    }
}

fn show(client: &Client, output: Output, name: &str) -> Result<(), Problem> {
    let image = fetch(client, name)?;
    if output.json {
        return output.json(&image_json(&image));
    }
    let mut lines = vec![
        ("name", image.name.clone()),
        ("description", image.description.clone()),
        ("architecture", image.arch.clone()),
        ("added by", image.added_by.clone()),
    ];
    let parts = image.parts.iter();
    lines.extend(parts.map(|part| (part.role.name(), long(part))));
    for (what, text) in lines {
        output.line(format!("{what:<13} {}", harmless(&text)).trim_end())?;
    }
    output.line("configuration")?;
    for line in image.config.lines() {
        output.line(format!("  {}", harmless(line)).trim_end())?;
    }
    Ok(())
}

fn long(part: &ImagePart) -> String {
    let unused = if part.role == ImageRole::DISK {
        "; no domain can use it yet"
    } else {
        ""
    };
    format!("{}, {}, {}{unused}", part.file, kib(part.length), part.blob)
}

fn image_json(image: &Image) -> Value {
    let part = |part: &ImagePart| {
        json!({
            "role": part.role.name(),
            "file": part.file,
            "blake3": part.blob.to_string(),
            "length": part.length,
        })
    };
    json!({
        "name": image.name,
        "description": image.description,
        "arch": image.arch,
        "config": image.config,
        "parts": image.parts.iter().map(part).collect::<Vec<_>>(),
        "added_by": image.added_by,
        "added_ns": image.added_ns,
    })
}

/// What `create --image` or `new --image` is to send.
pub(crate) fn domain(
    client: &Client,
    conf: &Conf,
    (image, name): (&str, &str),
    overrides: &[String],
) -> Result<Prepared, Problem> {
    let template = fetch(client, image)?.config;
    let bridge = if template::wants_bridge(&template) {
        bridge(client)?
    } else {
        None
    };
    let values = Values::new(image, name, bridge.as_deref())?;
    let origin = format!("{image} (image)");
    let text = template::render(&origin, &template, &values)?;
    let mut overrides = overrides.to_vec();
    if !template::takes_name(&template) {
        overrides.push(args::name_is(name));
    }
    prepare_text(conf, &origin, &text, &overrides)
}

/// The bridge that the host's configuration names.
fn bridge(client: &Client) -> Result<Option<String>, Problem> {
    let Reply::Text(chunk) = client.call(RequestBody::ConfigShow)? else {
        return Err(Problem::nonsense("a configuration"));
    };
    let text = String::from_utf8_lossy(&chunk.text);
    let mut lines = text.lines();
    let named = lines.find_map(|line| line.strip_prefix("(default-bridge ")?.strip_suffix(')'));
    Ok(named.map(str::to_owned))
}
