// SPDX-License-Identifier: MIT OR Apache-2.0
//! `config`: xend's own, `show`, `set`, and `check` of a file like `xend-config.sxp`; a domain's is told apart by its name.

use crate::{
    args::{ConfigShow, ConfigVerb},
    conf::Conf,
    create::read_text,
    definition,
    link::Client,
    output::{Output, harmless, note},
    problem::Problem,
};
use mgmt_proto::messages::{Remark, Reply, RequestBody};
use serde_json::{Value, json};

/// The longest file that a host takes, in bytes.
const MAX_SETTINGS: u64 = 32 * 1024;

/// Whether a file is a configuration of xend by its name, and not one of a domain.
pub(crate) fn is_settings(file: &str) -> bool {
    file.ends_with(".sxp")
}

/// `config`, but for checking a domain's.
pub(crate) fn config(
    client: &Client,
    output: Output,
    conf: &Conf,
    verb: ConfigVerb,
) -> Result<(), Problem> {
    match verb {
        ConfigVerb::Show(ConfigShow { domain: None }) => show(client, output),
        ConfigVerb::Show(ConfigShow { domain: Some(it) }) => definition::show(client, output, &it),
        ConfigVerb::Edit(edit) => definition::edit(client, output, conf, &edit.domain),
        ConfigVerb::Set(set) => match set.whose() {
            (Some(domain), file) => definition::set(client, output, conf, (domain, file)),
            (None, file) => {
                let remarks = ask(client, file, RequestBody::ConfigSet)?;
                output.either(&as_json(&remarks), "xend has a new configuration")
            }
        },
        ConfigVerb::Check(check) => {
            let remarks = ask(client, &check.file, RequestBody::ConfigCheck)?;
            let errors = remarks.iter().filter(|remark| remark.is_error).count();
            if errors > 0 {
                return Err(Problem::new(format!(
                    "{}: what is wrong is said above: {errors} errors",
                    check.file
                )));
            }
            let text = format!("{}: no errors", check.file);
            output.either(&as_json(&remarks), &text)
        }
    }
}

fn show(client: &Client, output: Output) -> Result<(), Problem> {
    let Reply::Text(chunk) = client.call(RequestBody::ConfigShow)? else {
        return Err(Problem::nonsense("a configuration"));
    };
    if output.json {
        output.json(&json!({ "text": String::from_utf8_lossy(&chunk.text) }))
    } else {
        output.bytes(&chunk.text)
    }
}

/// Sends a file, and tells the operator what xend has to say about it.
fn ask(
    client: &Client,
    file: &str,
    request: fn(String) -> RequestBody,
) -> Result<Vec<Remark>, Problem> {
    let text = read_text(file, MAX_SETTINGS)
        .map_err(|problem| problem.with_remedy_if_none("name a file like xend-config.sxp"))?;
    let Reply::Remarks(remarks) = client.call(request(text))? else {
        return Err(Problem::nonsense("remarks about a configuration"));
    };
    for remark in &remarks {
        note(&format!("xenman: {}", harmless(&remark.text)));
    }
    Ok(remarks)
}

fn as_json(remarks: &[Remark]) -> Value {
    let remarks = remarks
        .iter()
        .map(|remark| json!({ "error": remark.is_error, "text": remark.text }));
    json!({ "remarks": remarks.collect::<Vec<_>>() })
}
