// SPDX-License-Identifier: MIT OR Apache-2.0
//! `man`: the manual page, made from the same definitions as `--help`.

use crate::{
    args::Arguments,
    completion::{Level, OptionOf, Place, levels, summary},
    output::Output,
    problem::Problem,
};
use argh::ArgsInfo;
use roff::{Inline, Roff, bold, italic, roman};

/// What is said of xenman beside its verbs and options: a heading, and terms with what they are.
const MORE: [(&str, &[(&str, &str)]); 5] = [
    (
        "EXIT STATUS",
        &[
            ("0", "It is done."),
            (
                "1",
                "It was refused, or it failed; standard error has the cause and mostly what to do.",
            ),
            ("2", "The command line is wrong."),
            ("3", "xend cannot be reached."),
            (
                "130, 143",
                "It was interrupted, by Ctrl-C or SIGTERM, and left nothing half done.",
            ),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("XENMAN_HOST", "The host to talk to, without -H."),
            (
                "XENMAN_HOME",
                "The operator's folder, instead of ~/.xenman.",
            ),
            (
                "NO_COLOR",
                "If it is set and not empty, tables and the dashboard have no colours.",
            ),
            ("TERM", "The dumb terminal has no colours either."),
            (
                "VISUAL, EDITOR",
                "The editor of 'xenman config edit'; vi otherwise.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            (
                "./xenman.conf, ~/.xenman/xenman.conf, /etc/xenman/xenman.conf",
                "Names of hosts and disks, and preferences: the first that can be read counts.",
            ),
            (
                "~/.xenman",
                "Saved domains, the log of what was asked of which host, and unpacked kernels.",
            ),
        ],
    ),
    (
        "EXAMPLES",
        &[
            (
                "xenman create web.cfg memory=512",
                "Starts a domain from a file, with more memory than the file says.",
            ),
            (
                "xenman save web web.save",
                "Puts a running domain into a file; 'xenman restore web.save' lets it go on.",
            ),
            ("xenman list --json", "Tells a program of all domains."),
        ],
    ),
    (
        "SEE ALSO",
        &[(
            "docs/guide/index.md",
            "The user guide: first steps, configurations, JSON, errors.",
        )],
    ),
];

/// When the page was last changed, but for what is made from the definitions.
const DATE: &str = "2026-11-30";

/// `man`.
pub(crate) fn man(output: Output) -> Result<(), Problem> {
    output.bytes(page().as_bytes())
}

fn page() -> String {
    let levels = levels(&Arguments::get_args_info());
    let Some((root, verbs)) = levels.split_first() else {
        return String::new();
    };
    let mut page = Roff::new();
    let version = concat!("xenman ", env!("CARGO_PKG_VERSION"));
    page.control("TH", ["XENMAN", "1", DATE, version, "Alcove"]);
    let about = root.about.strip_prefix("xenman: ").unwrap_or(&root.about);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("xenman - {}", summary(about)))]);
    page.control("SH", ["SYNOPSIS"]);
    page.text(synopsis(root));
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        about.split_once(". ").map_or(about, |(_, more)| more),
    )]);
    page.control("SH", ["OPTIONS"]);
    root.options.iter().for_each(|it| option(&mut page, it));
    page.control("SH", ["VERBS"]);
    verbs.iter().for_each(|level| verb(&mut page, level));
    for (heading, terms) in MORE {
        page.control("SH", [heading]);
        for (term, text) in terms {
            page.control("TP", []);
            page.text([bold(*term)]);
            page.text([roman(*text)]);
        }
    }
    page.render()
}

fn verb(page: &mut Roff, level: &Level) {
    page.control("SS", [level.words().as_str()]);
    page.text(synopsis(level));
    page.control("PP", []);
    page.text([roman(&level.about)]);
    for place in &level.places {
        page.control("TP", []);
        page.text([italic(place.name)]);
        page.text([roman(&place.about)]);
    }
    let own = level.options.iter().filter(|it| it.long != "--help");
    own.for_each(|it| option(page, it));
}

fn option(page: &mut Roff, option: &OptionOf) {
    page.control("TP", []);
    let mut line = Vec::new();
    for word in option.spellings() {
        line.extend((!line.is_empty()).then(|| roman(", ")));
        line.push(bold(word));
    }
    line.extend(value(option));
    page.text(line);
    page.text([roman(&option.about)]);
}

fn value(option: &OptionOf) -> Vec<Inline> {
    option
        .value
        .map_or(Vec::new(), |(name, _)| vec![roman(" "), italic(name)])
}

/// How a verb is written, with the options that it needs; of the others it has, that there are some.
fn synopsis(level: &Level) -> Vec<Inline> {
    let mut line = vec![bold(format!("xenman {}", level.words()).trim_end())];
    let optional = level
        .options
        .iter()
        .any(|it| !it.required && it.long != "--help");
    line.extend(optional.then(|| roman(" [OPTION...]")));
    for option in level.options.iter().filter(|it| it.required) {
        line.extend([roman(" "), bold(option.long)]);
        line.extend(value(option));
    }
    line.extend(level.places.iter().flat_map(place));
    line.extend((!level.verbs.is_empty()).then(|| roman(" VERB ...")));
    line
}

fn place(place: &Place) -> Vec<Inline> {
    let more = if place.repeats { "..." } else { "" };
    let (before, behind) = if place.required {
        (" ", "")
    } else {
        (" [", "]")
    };
    vec![
        roman(before),
        italic(place.name),
        roman(format!("{more}{behind}")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    /// What a program that formats manual pages makes of the page, and its complaints; nothing where it is not there.
    fn rendered(program: &str, arguments: &[&str]) -> Option<(String, String)> {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env("MANWIDTH", "200")
            .env("LC_ALL", "C.UTF-8");
        let piped = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let Ok(mut child) = piped.spawn() else {
            println!("skipped: there is no {program} here");
            return None;
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(page().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Some((text(output.stdout), text(output.stderr)))
    }

    /// Without what a printer strikes over.
    fn plain(text: &str) -> String {
        let mut plain = String::new();
        for c in text.chars() {
            if c == '\u{8}' {
                plain.pop();
            } else {
                plain.push(c);
            }
        }
        plain
    }

    /// A text as the page has it.
    fn escaped(text: &str) -> String {
        let page = Roff::new().text([roman(text)]).render();
        page.lines().last().unwrap_or_default().to_owned()
    }

    #[test]
    fn every_verb_and_option_is_on_the_page() {
        let page = page();
        for level in levels(&Arguments::get_args_info()) {
            let command = format!("xenman {}", level.words());
            assert!(page.contains(&escaped(command.trim())), "{command}");
            for option in level.options.iter().flat_map(OptionOf::spellings) {
                assert!(page.contains(&escaped(&option)), "{option}");
            }
            for place in &level.places {
                assert!(page.contains(&escaped(&place.about)), "{}", place.about);
            }
        }
    }

    #[test]
    fn those_who_format_it_have_nothing_to_complain_of() {
        for (program, arguments) in [
            (
                "groff",
                &["-k", "-ww", "-man", "-Tutf8", "-P-cbou", "-rLL=200n"][..],
            ),
            ("mandoc", &["-T", "utf8", "-W", "warning"]),
        ] {
            let Some((text, complaints)) = rendered(program, arguments) else {
                continue;
            };
            assert_eq!(complaints, "", "{program}");
            assert!(
                plain(&text).contains("vcpu-pin domain vcpu cpus"),
                "{program}: {text}"
            );
        }
    }
}
