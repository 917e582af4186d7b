// SPDX-License-Identifier: MIT OR Apache-2.0
//! The script for bash.

use super::level::{Level, OptionOf, Place};

/// The script; nothing in it needs the bash-completion package.
pub(super) fn script(levels: &[Level]) -> String {
    let levels: String = levels.iter().map(level).collect();
    format!("{HEAD}{levels}        *) return 1 ;;\n    esac\n}}\n{REST}")
}

fn level(level: &Level) -> String {
    let verbs: Vec<&str> = level.verbs.iter().map(|(verb, _)| *verb).collect();
    let options: Vec<String> = level.options.iter().flat_map(spellings).collect();
    let places: Vec<String> = level.places.iter().map(place).collect();
    format!(
        "        '{}')\n            verbs='{}'\n            options='{}'\n            places='{}'\n            ;;\n",
        level.words(),
        verbs.join(" "),
        options.join(" "),
        places.join(" ")
    )
}

/// An option with a value has its kind behind it.
fn spellings(option: &OptionOf) -> Vec<String> {
    let value = option
        .value
        .map_or(String::new(), |(_, kind)| format!("={}", kind.name()));
    option
        .spellings()
        .iter()
        .map(|word| format!("{word}{value}"))
        .collect()
}

/// The last place may take any number of words.
fn place(place: &Place) -> String {
    let more = if place.repeats { "+" } else { "" };
    format!("{}{more}", place.kind.name())
}

const HEAD: &str = r#"# Completion of xenman for bash, made by 'xenman completion bash'.

# What may follow the verbs in $1; fails if they are none.
_xenman_level() {
    case "$1" in
"#;

const REST: &str = r#"
# Offers what begins like the word that is typed, of the lines of the input. They may come from a host: nothing in them is
# evaluated.
_xenman_offer_lines() {
    local line quoted
    while IFS= read -r line; do
        [[ $line == "$2"* ]] || continue
        printf -v quoted %q "$line"
        COMPREPLY+=("$1$quoted")
    done
}

_xenman_names() {
    if [[ -n $host ]]; then
        "$program" -H "$host" complete-names "$1" 2>/dev/null
    else
        "$program" complete-names "$1" 2>/dev/null
    fi
}

_xenman_offer_files() {
    compopt -o filenames 2>/dev/null
    _xenman_offer_lines '' '' < <(compgen "$1" -- "$2")
}

# Offers values of a kind.
_xenman_offer() {
    case "$1" in
        files) _xenman_offer_files -f "$current" ;;
        folders) _xenman_offer_files -d "$current" ;;
        saved)
            if [[ $current == store:* ]]; then
                _xenman_offer_lines store: "${current#store:}" < <(_xenman_names snapshots)
            else
                _xenman_offer_files -f "$current"
                [[ -n $current && store: == "$current"* ]] && COMPREPLY+=(store:) && compopt -o nospace 2>/dev/null
            fi
            ;;
        hosts)
            if [[ $current == unix:* ]]; then
                _xenman_offer_files -f "${current#unix:}"
                COMPREPLY=("${COMPREPLY[@]/#/unix:}")
            else
                _xenman_offer_lines '' "$current" < <(_xenman_names hosts)
            fi
            ;;
        shells) _xenman_offer_lines '' "$current" < <(printf '%s\n' bash zsh fish) ;;
        domains | images | snapshots) _xenman_offer_lines '' "$current" < <(_xenman_names "$1") ;;
    esac
}

# Sets the kind of the place that is reached.
_xenman_kind_of_place() {
    local -a kinds
    read -ra kinds <<<"$places"
    local last=$((${#kinds[@]} - 1))
    if [[ $place -le $last ]]; then
        kind=${kinds[place]%+}
    elif [[ $last -ge 0 && ${kinds[last]} == *+ ]]; then
        kind=${kinds[last]%+}
    fi
}

# Goes over the words before the one that is typed.
_xenman_walk() {
    local word option
    _xenman_level ''
    for word in "$@"; do
        if [[ -n $kind ]]; then
            [[ $kind == hosts ]] && host=$word
            kind=''
        elif [[ $word == -* ]]; then
            for option in $options; do
                [[ $option == "$word="* ]] && kind=${option#*=}
            done
        elif [[ $place -eq 0 ]] && _xenman_level "${level:+$level }$word"; then
            level=${level:+$level }$word
        else
            place=$((place + 1))
        fi
    done
}

_xenman() {
    local program=$1 line=${COMP_LINE:0:COMP_POINT} level='' verbs='' options='' places=''
    local host='' kind='' place=0 current='' before
    local -a words
    # Bash takes words apart at : and =; here they are whole. Without -r, a backslash keeps a blank within a word.
    read -a words <<<"$line"
    if [[ $line != *[[:space:]] ]]; then
        current=${words[${#words[@]} - 1]}
        unset 'words[${#words[@]}-1]'
    fi
    COMPREPLY=()
    _xenman_walk "${words[@]:1}"
    if [[ -z $kind && $current == -* ]]; then
        _xenman_offer_lines '' "$current" < <(printf '%s\n' $options | cut -d= -f1)
    elif [[ -z $kind && -n $verbs && $place -eq 0 ]]; then
        _xenman_offer_lines '' "$current" < <(printf '%s\n' $verbs)
    else
        [[ -n $kind ]] || _xenman_kind_of_place
        _xenman_offer "$kind"
    fi
    # Bash wants only what follows the last : of the word.
    if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
        before=${current%"${current##*:}"}
        COMPREPLY=("${COMPREPLY[@]#"$before"}")
    fi
}

complete -F _xenman xenman
"#;
