// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

fn read(line: &str) -> Result<Asked, Problem> {
    parse(
        &line.split(' ').map(str::to_owned).collect::<Vec<_>>(),
        false,
    )
}

fn arguments(line: &str) -> Arguments {
    match read(line) {
        Ok(Asked::Verb(arguments)) => arguments,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn host_and_json_may_stand_anywhere() {
    for line in [
        "xenman -H unix:/a --json list",
        "xenman list --json -H unix:/a",
        "xm list -Hunix:/a --json",
    ] {
        let arguments = arguments(line);
        assert_eq!(
            (arguments.host.as_deref(), arguments.json),
            (Some("unix:/a"), true),
            "{line}"
        );
        assert!(matches!(arguments.verb, Verb::List(_)));
    }
}

#[test]
fn no_verb_on_a_terminal_is_the_dashboard() {
    for line in ["xenman", "xenman -H unix:/a"] {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let Ok(Asked::Verb(arguments)) = parse(&words, true) else {
            panic!("{line}")
        };
        assert!(matches!(arguments.verb, Verb::Top(_)), "{line}");
    }
}

#[test]
fn every_verb_has_help() {
    for verb in VERBS {
        assert!(
            matches!(read(&format!("xenman {verb} --help")), Ok(Asked::Text(text)) if text.contains(verb)),
            "{verb}"
        );
    }
    assert!(
        matches!(read("xenman --help"), Ok(Asked::Text(text)) if VERBS.iter().all(|verb| text.contains(verb)))
    );
    assert!(
        matches!(read("xenman --version"), Ok(Asked::Text(text)) if text.starts_with("xenman "))
    );
}

#[test]
fn wrong_usage_has_status_2() {
    for (line, word) in [
        ("xenman", "Usage"),
        ("xenman lst", "did you mean 'list'?"),
        ("xenman frobnicate", "lists them"),
        ("xenman create", "file"),
        ("xenman list --frob", "--frob"),
        ("xenman domname x", "domid"),
    ] {
        let problem = read(line).unwrap_err();
        assert_eq!(problem.status, 2, "{line}");
        assert!(problem.to_string().contains(word), "{line}: {problem}");
    }
}

#[test]
fn create_takes_overrides_and_switches_in_any_order() {
    let Verb::Create(create) = arguments("xenman create -p a.cfg memory=96 -c name=b").verb else {
        panic!()
    };
    let description = create.description().unwrap();
    assert_eq!(description.source, Source::File("a.cfg".to_owned()));
    assert_eq!(description.overrides, ["memory=96", "name=b"]);
    assert!(create.paused && create.console);
}

fn description(line: &str) -> Description {
    match arguments(line).verb {
        Verb::Create(create) => create.description().unwrap(),
        Verb::New(new) => new.description().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_domain_is_made_from_a_file_or_from_an_image() {
    for verb in ["create", "new"] {
        let image = description(&format!(
            "xenman {verb} --image debian --name web1 on_crash=preserve --memory 96 --vcpus 2"
        ));
        let source = Source::Image {
            image: Some("debian".to_owned()),
            name: "web1".to_owned(),
        };
        assert_eq!(image.source, source);
        assert_eq!(
            image.overrides,
            ["on_crash=preserve", "memory=96", "vcpus=2"]
        );
        let file = description(&format!("xenman {verb} a.cfg --name b"));
        assert_eq!(file.source, Source::File("a.cfg".to_owned()));
        assert_eq!(file.overrides, ["name=\"b\""]);
        let default = description(&format!("xenman {verb} --name web1 vcpus=2"));
        let source = Source::Image {
            image: None,
            name: "web1".to_owned(),
        };
        assert_eq!(
            (default.source, default.overrides),
            (source, vec!["vcpus=2".to_owned()])
        );
        for (line, why) in [
            ("", "<file> or --image is missing"),
            (" --image debian", "--image needs --name"),
            (" a.cfg --image debian --name b", "are one too many"),
        ] {
            let told = read(&format!("xenman {verb}{line}"))
                .unwrap_err()
                .to_string();
            assert!(
                told.contains(&format!("{verb}: ")) && told.contains(why),
                "{told}"
            );
        }
    }
}
