// SPDX-License-Identifier: MIT OR Apache-2.0
//! The script for zsh.

use super::level::{Level, OptionOf, Place, summary};

/// The script, for a file `_xenman` in a folder of `$fpath`.
pub(super) fn script(levels: &[Level]) -> String {
    let levels: String = levels.iter().map(level).collect();
    format!("{HEAD}{levels}        (*) return 1 ;;\n    esac\n}}\n{REST}")
}

fn level(level: &Level) -> String {
    let verbs = level
        .verbs
        .iter()
        .map(|(verb, about)| described(verb, about));
    let options = level.options.iter().flat_map(options);
    let values = level.options.iter().flat_map(values);
    let places = level.places.iter().map(place);
    format!(
        "        ('{}')\n            verbs=({})\n            options=({})\n            values=({})\n            places=({})\n            ;;\n",
        level.words(),
        list(verbs),
        list(options),
        list(values),
        list(places)
    )
}

fn list(words: impl Iterator<Item = String>) -> String {
    words
        .map(|word| format!("\n                {}", quoted(&word)))
        .collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A word and what it is, as `_describe` reads it.
fn described(word: &str, about: &str) -> String {
    format!(
        "{word}:{}",
        summary(about).replace('\\', "\\\\").replace(':', "\\:")
    )
}

fn options(option: &OptionOf) -> Vec<String> {
    option
        .spellings()
        .iter()
        .map(|word| described(word, &option.about))
        .collect()
}

fn values(option: &OptionOf) -> Vec<String> {
    let Some((_, kind)) = option.value else {
        return Vec::new();
    };
    option
        .spellings()
        .iter()
        .map(|word| format!("{word}={}", kind.name()))
        .collect()
}

/// The last place may take any number of words.
fn place(place: &Place) -> String {
    let more = if place.repeats { "+" } else { "" };
    format!("{}{more}", place.kind.name())
}

const HEAD: &str = r#"#compdef xenman
# Completion of xenman for zsh, made by 'xenman completion zsh'.

# What may follow the verbs in $1; fails if they are none.
_xenman_level() {
    case "$1" in
"#;

const REST: &str = r#"
_xenman_names() {
    local -a asked=("${(Q)words[1]}")
    [[ -n $host ]] && asked+=(-H "$host")
    local -a found=("${(@f)$($asked complete-names $1 2>/dev/null)}")
    found=(${found:#})
    compadd -a found
}

# Offers values of a kind.
_xenman_offer() {
    case "$1" in
        (files) _files ;;
        (folders) _files -/ ;;
        (saved)
            if compset -P store:; then
                _xenman_names snapshots
            else
                _files
                compadd -S '' store:
            fi
            ;;
        (hosts)
            if compset -P unix:; then
                _files
            else
                compadd -S '' unix: serial:
                _xenman_names hosts
            fi
            ;;
        (shells) compadd bash zsh fish ;;
        (domains|images|snapshots) _xenman_names "$1" ;;
        (*) return 1 ;;
    esac
}

_xenman() {
    local level='' kind='' host='' word option
    local -a verbs options values places
    integer place=0
    _xenman_level ''
    for word in "${(@)words[2,CURRENT-1]}"; do
        if [[ -n $kind ]]; then
            [[ $kind == hosts ]] && host=${(Q)word}
            kind=''
        elif [[ $word == -* ]]; then
            for option in $values; do
                [[ $option == "$word="* ]] && kind=${option#*=}
            done
        elif (( place == 0 )) && _xenman_level "${level:+$level }$word"; then
            level="${level:+$level }$word"
        else
            (( place += 1 ))
        fi
    done
    if [[ -n $kind ]]; then
        _xenman_offer $kind
    elif [[ $PREFIX == -* ]]; then
        _describe -o option options
    elif (( $#verbs && place == 0 )); then
        _describe verb verbs
    elif (( place < $#places )); then
        _xenman_offer ${places[place+1]%+}
    elif [[ $places[-1] == *+ ]]; then
        _xenman_offer ${places[-1]%+}
    else
        _message 'no more arguments'
    fi
}

if [[ $funcstack[1] == _xenman ]]; then
    _xenman "$@"
else
    compdef _xenman xenman
fi
"#;
