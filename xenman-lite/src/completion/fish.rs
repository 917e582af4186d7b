// SPDX-License-Identifier: MIT OR Apache-2.0
//! The script for fish.

use super::level::{Kind, Level, OptionOf, summary};

/// The script: the levels for its functions, and a line for all that can be offered.
pub(super) fn script(levels: &[Level]) -> String {
    let paths = levels.iter().filter(|level| !level.path.is_empty());
    let paths: Vec<String> = paths
        .map(|level| quoted(&format!(" {}", level.words())))
        .collect();
    let lines: String = levels.iter().flat_map(lines).collect();
    HEAD.replace("@LEVELS@", &paths.join(" "))
        .replace("@VALUES@", &values(levels))
        + &lines
}

/// All options with a value, in all spellings.
fn values(levels: &[Level]) -> String {
    let options = levels.iter().flat_map(|level| &level.options);
    let with_value = options.filter(|option| option.value.is_some());
    let mut words: Vec<String> = with_value.flat_map(OptionOf::spellings).collect();
    words.sort_unstable();
    words.dedup();
    words.join(" ")
}

fn lines(level: &Level) -> Vec<String> {
    let at = format!("__xenman_at {}", quoted(&level.words()));
    let mut lines = Vec::new();
    for (verb, about) in &level.verbs {
        lines.push(line(&format!("{at} 0"), &format!("-f -a {verb}"), about));
    }
    for option in &level.options {
        lines.push(line(&at, &spelled(option), &option.about));
    }
    for (index, place) in level.places.iter().enumerate() {
        let from = if place.repeats { " +" } else { "" };
        let condition = format!("{at} {index}{from}");
        lines.extend(offer(place.kind).map(|offer| line(&condition, &offer, &place.about)));
    }
    lines
}

fn line(condition: &str, what: &str, about: &str) -> String {
    format!(
        "complete -c xenman -n {} {what} -d {}\n",
        quoted(condition),
        quoted(summary(about))
    )
}

fn spelled(option: &OptionOf) -> String {
    let short = option
        .short
        .map_or(String::new(), |short| format!(" -s {short}"));
    let value = option
        .value
        .map_or(String::new(), |(_, kind)| match (kind, offer(kind)) {
            (_, None) => " -x".to_owned(),
            (Kind::Files | Kind::Saved, Some(offer)) => format!(" -r {offer}"),
            (_, Some(offer)) => format!(" -x {offer}"),
        });
    format!("-l {}{short}{value}", option.long.trim_start_matches('-'))
}

/// What is offered for a kind; nothing for what the operator thinks of.
fn offer(kind: Kind) -> Option<String> {
    match kind {
        Kind::Files => Some("-F".to_owned()),
        Kind::Folders => Some("-a '(__fish_complete_directories)'".to_owned()),
        Kind::Saved => {
            Some("-F -a '(__xenman_names snapshots | string replace -r ^ store:)'".to_owned())
        }
        Kind::Shells => Some("-a 'bash zsh fish'".to_owned()),
        Kind::Text => None,
        names => Some(format!("-a '(__xenman_names {})'", names.name())),
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

const HEAD: &str = r#"# Completion of xenman for fish, made by 'xenman completion fish'.

# Prints the verbs that are typed, and the number of arguments behind them.
function __xenman_walk
    set -l level
    set -l place 0
    set -l value no
    for word in (commandline -opc)[2..-1]
        if test $value = yes
            set value no
        else if contains -- $word @VALUES@
            set value yes
        else if string match -q -- '-*' $word
            continue
        else if test $place = 0; and contains -- "$level $word" @LEVELS@
            set level "$level $word"
        else
            set place (math $place + 1)
        end
    end
    echo (string trim -- "$level")
    echo $place
end

# Whether these verbs are typed, and if there is a second argument, as many arguments; with a + as many or more.
function __xenman_at
    set -l walked (__xenman_walk)
    test "$walked[1]" = "$argv[1]"; or return 1
    test (count $argv) -lt 2; and return 0
    test "$walked[2]" = "$argv[2]"; and return 0
    test "$argv[3]" = +; and test "$walked[2]" -gt "$argv[2]"
end

function __xenman_names
    set -l words (commandline -opc)
    set -l host
    for index in (seq 2 (count $words))
        contains -- $words[$index] -H --host; and set host -H $words[(math $index + 1)]
    end
    $words[1] $host complete-names $argv[1] 2>/dev/null
end

complete -c xenman -f
"#;
