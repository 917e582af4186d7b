use super::{Domain0, FOREIGN, REMARKS_MAX, Remark, Settings, Severity};
use crate::logbook::Level;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use mgmt_proto::config::{Action, Policies};

const DOMAIN_0: Domain0 = Domain0 {
    memory_mib: 24,
    cpus: 1,
};

fn read(text: &str) -> (Settings, Vec<Remark>) {
    Settings::read(text, &DOMAIN_0)
}

fn remarks(text: &str) -> Vec<String> {
    read(text).1.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(read("# nothing\n"), (Settings::default(), Vec::new()));
}

#[test]
fn what_is_set_is_taken_and_shown() {
    let text = "(logfile /var/log/x.log)\n(loglevel DEBUG)\n(console-limit 128)\n\
        (on_poweroff preserve)\n(on_reboot destroy)\n(on_crash rename-restart)\n(default-bridge xenbr0)\n";
    let (settings, remarks) = read(text);
    let expected = Settings {
        logfile: "/var/log/x.log".to_string(),
        loglevel: Level::Debug,
        console_limit: 131_072,
        policies: Policies {
            on_poweroff: Action::Preserve,
            on_reboot: Action::Destroy,
            on_crash: Action::RenameRestart,
            ..Policies::default()
        },
        bridge: Some("xenbr0".to_string()),
    };
    assert_eq!((&settings, remarks.len()), (&expected, 0));
    assert_eq!(settings.to_string(), text);
}

#[test]
fn other_names_of_a_key_mean_the_same() {
    let (settings, remarks) = read("(on-crash restart)\n(network-bridge br-lan)\n(loglevel debug)");
    assert_eq!(settings.policies.on_crash, Action::Restart);
    assert_eq!(settings.bridge.as_deref(), Some("br-lan"));
    assert_eq!(remarks, []);
    assert_eq!(read("(on-crash restart)(on_crash restart)").1.len(), 1);
}

#[test]
fn what_domain_0_was_given_at_boot_is_compared() {
    for text in ["(dom0-min-mem 24)", "(dom0-cpus 0)", "(dom0-cpus 1)"] {
        assert_eq!(remarks(text), [""; 0], "{text}");
    }
    for (text, expected) in [
        (
            "(dom0-min-mem 196)",
            "1:15: warning: dom0-min-mem asks for 196 MiB and Domain-0 has 24: its memory is fixed at boot: use \
             dom0_mem= on the hypervisor's command line",
        ),
        (
            "(dom0-cpus 2)",
            "1:12: warning: dom0-cpus asks for 2 and Domain-0 has 1: its CPUs are fixed at boot: use dom0_cpus= on \
             the hypervisor's command line",
        ),
    ] {
        assert_eq!(remarks(text), [format!("xend-config.sxp:{expected}")]);
    }
}

#[test]
fn bad_values_are_errors_with_place_and_remedy_and_the_rest_holds() {
    let (settings, found) =
        read("(console-limit 0)\n(loglevel LOUD)\n(logfile x)\n(loglevel ERROR)");
    assert_eq!(settings.loglevel, Level::Error);
    assert_eq!(
        (settings.console_limit, settings.logfile.as_str()),
        (65_536, "/var/log/xend.log")
    );
    assert_eq!(
        found
            .iter()
            .filter(|remark| remark.severity == Severity::Error)
            .count(),
        3
    );
    for (text, expected) in [
        (
            "(console-limit 0)",
            "1:16: error: console-limit cannot be `0`: write a number of KiB from 1 to 1024",
        ),
        (
            "(console-limit +5)",
            "1:16: error: console-limit cannot be `+5`: write a number of KiB from 1 to 1024",
        ),
        (
            "(loglevel LOUD)",
            "1:11: error: loglevel cannot be `LOUD`: write one of DEBUG, INFO, WARNING, ERROR, CRITICAL",
        ),
        (
            "\n (logfile a)",
            "2:11: error: logfile cannot be `a`: write an absolute path such as /var/log/xend.log",
        ),
        (
            "(logfile (a b))",
            "1:10: error: logfile cannot be `(a b)`: write an absolute path such as /var/log/xend.log",
        ),
        (
            "(loglevel)",
            "1:1: error: loglevel takes one value: write `(loglevel INFO)`",
        ),
        (
            "(loglevel INFO DEBUG)",
            "1:1: error: loglevel takes one value: write `(loglevel INFO)`",
        ),
        (
            "loglevel",
            "1:1: error: expected `(key value)`, found `loglevel`",
        ),
        (
            "(on_crash reboot)",
            "1:11: error: on_crash cannot be `reboot`: write destroy, restart, preserve or rename-restart",
        ),
        (
            "(default-bridge 'x y')",
            "1:17: error: default-bridge cannot be `'x y'`: write a name of at most 15 letters, digits and '-', '_', '.'",
        ),
        (
            "(dom0-min-mem lots)",
            "1:15: error: dom0-min-mem cannot be `lots`: write a number of MiB up to 1048576",
        ),
        (
            "(dom0-cpus 65)",
            "1:12: error: dom0-cpus cannot be `65`: write a number up to 64; 0: all",
        ),
        ("()", "1:1: error: expected `(key value)`, found `()`"),
        (
            "(loglevel INFO",
            "1:1: error: this `(` is never closed: add a `)`; nothing of this file is used",
        ),
    ] {
        assert_eq!(remarks(text), [format!("xend-config.sxp:{expected}")]);
    }
}

#[test]
fn keys_without_meaning_are_warned_about_by_name() {
    for (text, expected) in [
        (
            "(xend-unix-path /x)",
            "xend-unix-path has no effect: xend is reached with xenman only",
        ),
        (
            "(vnc-listen '127.0.0.1')",
            "vnc-listen has no effect: there is no graphical console",
        ),
        (
            "(logfiel /x)",
            "unknown setting logfiel: did you mean logfile?",
        ),
        (
            "(colour blue)",
            "unknown setting colour: known are logfile, loglevel, console-limit, on_poweroff, ",
        ),
    ] {
        let found = remarks(text);
        assert!(
            found.len() == 1 && found[0].contains(&format!("warning: {expected}")),
            "{found:?}"
        );
    }
}

#[test]
fn the_original_file_gives_warnings_only() {
    let keys = FOREIGN.iter().filter(|(key, _)| !key.ends_with(['-', '_']));
    let text: String = keys
        .map(|(key, _)| format!("({key} something)\n"))
        .chain(["(dom0-min-mem 196)\n(dom0-cpus 2)\n".to_string()])
        .collect();
    let (settings, remarks) = read(&text);
    assert_eq!(settings, Settings::default());
    assert!(
        remarks
            .iter()
            .all(|remark| remark.severity == Severity::Warning)
    );
    assert_eq!(remarks.len(), text.lines().count());
}

#[test]
fn a_key_set_twice_is_remarked_and_the_last_one_holds() {
    let (settings, remarks) = read("(loglevel DEBUG)\n(loglevel ERROR)");
    assert_eq!((settings.loglevel, remarks.len()), (Level::Error, 1));
    assert!(remarks[0].message.contains("set at 1:1 already"));
}

#[test]
fn remarks_are_bounded() {
    assert_eq!(remarks(&"(x y)\n".repeat(2000)).len(), REMARKS_MAX);
    assert!(remarks(&format!("({} y)", "k".repeat(3000)))[0].len() < 300);
}
