// SPDX-License-Identifier: MIT OR Apache-2.0

use super::{hosts::NamedHost, *};
use tempfile::TempDir;

/// A configuration with this text, in a folder of its own.
pub(crate) fn conf(text: &str) -> (TempDir, Conf) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path().join(".xenman"));
    let own = home.folder().unwrap().join(find::NAME);
    fs::write(own, text).unwrap();
    (folder, Conf::of(home, &nowhere()))
}

fn nowhere() -> Places {
    Places {
        here: "/nonexistent/here".into(),
        everybody: "/nonexistent/everybody".into(),
    }
}

/// What was read is what is refused: with its line.
fn refusal<T>(got: Result<T, Problem>) -> String {
    got.err().unwrap().to_string()
}

#[test]
fn without_a_file_the_defaults_hold() {
    let folder = tempfile::tempdir().unwrap();
    for text in [None, Some(STANDARD), Some("")] {
        let path = folder.path().join(".xenman");
        let home = Home::at(path.clone());
        if let Some(text) = text {
            fs::write(home.folder().unwrap().join(find::NAME), text).unwrap();
        }
        let conf = Conf::of(home, &nowhere());
        assert!(conf.hosts().unwrap().is_empty());
        assert_eq!(conf.default_host().unwrap(), None);
        assert_eq!(conf.default_image().unwrap(), None);
        assert!(conf.confirms().unwrap() && conf.log().unwrap().is_some());
        let saved = conf.saved().unwrap().path("web");
        assert_eq!(saved, path.join("snapshots/web.snapshot.xm"));
        assert_eq!(conf.disk("data").unwrap(), None);
    }
}

#[test]
fn a_file_of_xenmans_is_understood() {
    let (_folder, conf) = conf(
        "[DEFAULT]\ndefault_computed_options = ['arch']\n[ENVIRONMENT]\n[PATHS]\nbase = /srv/xen\n\
         snapshots_dir = %(base)s/snapshots\nsnapshot_file_ext = .save\n[APPLICATION DATA]\ngroups = {}\n\
         [CLIENT CONFIGURATION]\nenable_log = False\nconfirm_dialog: off\ndefault_host = rack7\nhttp_proxy = x%\n\
         [IMAGE STORE]\ndefault_image = debian\n[rack7]\nlogin = root\nssh_port = 22\naddress = serial:/dev/ttyS1@9600\n\
         [localhost]\nxen_port = 8006\n",
    );
    assert_eq!(
        conf.saved().unwrap().path("a"),
        Path::new("/srv/xen/snapshots/a.save")
    );
    assert!(!conf.confirms().unwrap() && conf.log().unwrap().is_none());
    assert_eq!(conf.default_host().unwrap().as_deref(), Some("rack7"));
    assert_eq!(conf.default_image().unwrap().as_deref(), Some("debian"));
    let named = |name: &str, address: Option<&str>| NamedHost {
        name: name.to_owned(),
        address: address.map(str::to_owned),
    };
    let hosts = [
        named("rack7", Some("serial:/dev/ttyS1@9600")),
        named("localhost", None),
    ];
    assert_eq!(conf.hosts().unwrap(), hosts);
    assert_eq!(
        conf.host("rack7").unwrap().to_string(),
        "serial:/dev/ttyS1@9600"
    );
    assert_eq!(conf.host("unix:/a").unwrap().to_string(), "unix:/a");
    assert!(refusal(conf.host("localhost")).contains("no address for 'localhost'"));
    assert!(refusal(conf.host("rack")).contains("did you mean 'rack7'?"));
}

#[test]
fn values_without_sense_are_told_with_their_lines() {
    let (_folder, conf) = conf(
        "[PATHS]\nsnapshot_file_ext = /x\nsnapshots_dir = %(nothing)s\n[CLIENT CONFIGURATION]\nconfirm_dialog = maybe\n\
         log_file = ../../x\n[rack7]\naddress = 10.0.0.7\n[DISK a]\ntarget = phy:/a\nvdev = xvda\nmode = x\n\
         [DISK b]\ntarget = a,b\n[DISK c]\nvdev = xvda\n",
    );
    for (told, line) in [
        (
            refusal(conf.saved()),
            ":2: '/x' does not do for snapshot_file_ext",
        ),
        (
            refusal(conf.confirms()),
            ":5: 'maybe' does not do for confirm_dialog\n  help: write yes or no",
        ),
        (
            refusal(conf.log()),
            ":6: '../../x' does not do for log_file",
        ),
        (refusal(conf.host("rack7")), ":8: `10.0.0.7` is not a host"),
        (refusal(conf.disk("a")), ":12: 'x' does not do for mode"),
        (refusal(conf.disk("b")), ":14: 'a,b' does not do for target"),
        (refusal(conf.disk("c")), "there is no 'target' in [DISK c]"),
    ] {
        assert!(told.contains(line), "{told}");
    }
}

#[test]
fn hosts_are_added_and_removed_in_a_file_that_stays_what_it_was() {
    let text = "# mine\n[rack7]\naddress = unix:/a\n\n[DISK data]\ntarget = x\n";
    let (folder, conf) = conf(text);
    conf.add_host("rack8", "unix:/b").unwrap();
    let path = folder.path().join(".xenman/xenman.conf");
    let now = fs::read_to_string(&path).unwrap();
    assert!(
        now.starts_with(text) && now.ends_with("[rack8]\naddress = unix:/b\n"),
        "{now}"
    );
    for (name, address, told) in [
        ("rack8", "unix:/c", "there is a host 'rack8' already"),
        ("DISK data", "unix:/c", "cannot be a host's name"),
        ("-H", "unix:/c", "cannot be a host's name"),
        ("paths", "unix:/c", "is not a host in xenman.conf"),
        ("rack9", "rack8", "is not a host"),
    ] {
        assert!(
            refusal(conf.add_host(name, address)).contains(told),
            "{name}"
        );
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), now);
    conf.remove_host("rack7").unwrap();
    let now = fs::read_to_string(&path).unwrap();
    assert!(now.starts_with("# mine\n\n[DISK data]"), "{now}");
    assert!(refusal(conf.remove_host("data")).contains("there is no host 'data'"));
}

#[test]
fn everybodys_file_is_copied_before_it_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let everybody = folder.path().join("everybody");
    fs::write(&everybody, "[rack7]\naddress = unix:/a\n").unwrap();
    let places = Places {
        everybody: everybody.clone(),
        ..nowhere()
    };
    let home = Home::at(folder.path().join(".xenman"));
    let conf = Conf::of(home.clone(), &places);
    conf.set_default_image("debian").unwrap();
    let conf = Conf::of(home, &places);
    assert_eq!(conf.default_image().unwrap().as_deref(), Some("debian"));
    assert_eq!(conf.hosts().unwrap().len(), 1);
    let left = fs::read_to_string(everybody).unwrap();
    assert_eq!(left, "[rack7]\naddress = unix:/a\n");
}
