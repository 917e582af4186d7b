// SPDX-License-Identifier: MIT OR Apache-2.0
//! What may stand where on a command line: a level for xenman itself, and one for each verb.

use argh::{CommandInfoWithArgs, FlagInfo, FlagInfoKind, Optionality, PositionalInfo};

/// What a value is, and so what a shell offers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A domain's name.
    Domains,
    /// An image's name.
    Images,
    /// A snapshot's label.
    Snapshots,
    /// A host.
    Hosts,
    /// A file here.
    Files,
    /// A folder here.
    Folders,
    /// A file here, or `store:` and a snapshot's label.
    Saved,
    /// A shell of which there are scripts.
    Shells,
    /// Whatever the operator thinks of.
    Text,
}

impl Kind {
    /// Its name in the scripts.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Domains => "domains",
            Self::Images => "images",
            Self::Snapshots => "snapshots",
            Self::Hosts => "hosts",
            Self::Files => "files",
            Self::Folders => "folders",
            Self::Saved => "saved",
            Self::Shells => "shells",
            Self::Text => "text",
        }
    }
}

/// What can follow some verbs.
pub(crate) struct Level {
    /// The verbs, one behind the other; none for xenman itself.
    pub(crate) path: Vec<&'static str>,
    pub(crate) about: String,
    /// The verbs below it, and what they do.
    pub(crate) verbs: Vec<(&'static str, String)>,
    pub(crate) options: Vec<OptionOf>,
    pub(crate) places: Vec<Place>,
}

/// An option at a level.
#[derive(Clone)]
pub(crate) struct OptionOf {
    /// With its dashes.
    pub(crate) long: &'static str,
    pub(crate) short: Option<char>,
    /// The name of its value, and what that is.
    pub(crate) value: Option<(&'static str, Kind)>,
    pub(crate) about: String,
    pub(crate) required: bool,
}

/// An argument that is known by its place.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) about: String,
    pub(crate) required: bool,
    pub(crate) repeats: bool,
}

impl Level {
    /// The verbs as they are typed.
    pub(crate) fn words(&self) -> String {
        self.path.join(" ")
    }
}

impl OptionOf {
    /// All ways to write it.
    pub(crate) fn spellings(&self) -> Vec<String> {
        let short = self.short.map(|short| format!("-{short}"));
        short.into_iter().chain([self.long.to_owned()]).collect()
    }
}

/// Options of xenman itself that may stand behind a verb, too.
const ANYWHERE: [&str; 2] = ["--host", "--json"];

/// All levels of a command, its own first, each with its own options.
pub(crate) fn levels(command: &CommandInfoWithArgs) -> Vec<Level> {
    let mut all = Vec::new();
    collect(command, &[], &mut all);
    if let Some(root) = all.first_mut() {
        root.options.push(OptionOf {
            long: "--version",
            short: Some('V'),
            value: None,
            about: "display the version".to_owned(),
            required: false,
        });
    }
    all
}

/// All levels, each with all options that may stand there.
pub(super) fn complete_levels(command: &CommandInfoWithArgs) -> Vec<Level> {
    let mut all = levels(command);
    let Some((root, verbs)) = all.split_first_mut() else {
        return all;
    };
    let anywhere = root.options.iter().filter(|it| ANYWHERE.contains(&it.long));
    let anywhere: Vec<OptionOf> = anywhere.cloned().collect();
    verbs
        .iter_mut()
        .for_each(|verb| verb.options.extend(anywhere.clone()));
    all
}

fn collect(command: &CommandInfoWithArgs, path: &[&'static str], all: &mut Vec<Level>) {
    let verbs = command.commands.iter();
    let verbs = verbs.map(|verb| (verb.name, summary(verb.command.description).to_owned()));
    all.push(Level {
        path: path.to_vec(),
        about: command.description.to_owned(),
        verbs: verbs.collect(),
        options: command.flags.iter().map(option).collect(),
        places: command
            .positionals
            .iter()
            .map(|it| place(path, it))
            .collect(),
    });
    for verb in &command.commands {
        collect(&verb.command, &[path, &[verb.name]].concat(), all);
    }
}

/// The first sentence.
pub(crate) fn summary(about: &str) -> &str {
    about
        .split_once(". ")
        .map_or(about.trim_end_matches('.'), |(first, _)| first)
}

fn option(flag: &FlagInfo<'static>) -> OptionOf {
    let value = match flag.kind {
        FlagInfoKind::Switch => None,
        FlagInfoKind::Option { arg_name } => Some((arg_name, kind_of_value(flag.long, arg_name))),
    };
    OptionOf {
        long: flag.long,
        short: flag.short,
        value,
        about: flag.description.to_owned(),
        required: flag.optionality == Optionality::Required,
    }
}

fn kind_of_value(option: &str, name: &str) -> Kind {
    match (option, name) {
        ("--host", _) => Kind::Hosts,
        ("--image", _) => Kind::Images,
        (_, "file") => Kind::Files,
        _ => Kind::Text,
    }
}

fn place(path: &[&str], argument: &PositionalInfo<'static>) -> Place {
    let repeats = [Optionality::Repeating, Optionality::Greedy].contains(&argument.optionality);
    Place {
        name: argument.name,
        kind: kind_of_place(path, argument.name),
        about: argument.description.to_owned(),
        required: argument.optionality == Optionality::Required,
        repeats,
    }
}

/// By its name; where names say too little, by its verb.
fn kind_of_place(path: &[&str], name: &str) -> Kind {
    match (path, name) {
        (["start" | "delete" | "domid"], "name") | (_, "domain") => Kind::Domains,
        (["image", verb], "name") if *verb != "add" => Kind::Images,
        (["host", verb], "name") if *verb != "add" => Kind::Hosts,
        (["save" | "restore"], "file") => Kind::Saved,
        (_, "file" | "file|key=value" | "domain|file") => Kind::Files,
        (_, "dir") => Kind::Folders,
        (_, "label") => Kind::Snapshots,
        (_, "shell") => Kind::Shells,
        _ => Kind::Text,
    }
}
