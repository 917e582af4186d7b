// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;

fn facts() -> Facts {
    Facts {
        names: vec!["Domain-0".to_owned(), "web".to_owned()],
        free_kib: 512 << 10,
    }
}

fn image(name: &str) -> ImageSummary {
    ImageSummary {
        name: name.to_owned(),
        description: String::new(),
        arch: "aarch64".to_owned(),
        roles: Vec::new(),
        length: 4096,
        added_ns: None,
    }
}

fn form() -> Form {
    let mut form = Form::default();
    form.images(vec![image("debian"), image("tiny")]);
    form
}

fn press(form: &mut Form, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\t' => KeyCode::Tab,
            '\r' => KeyCode::BackTab,
            '\x08' => KeyCode::Backspace,
            '→' => KeyCode::Right,
            '←' => KeyCode::Left,
            other => KeyCode::Char(other),
        };
        form.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

fn clear(form: &mut Form) {
    form.key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL));
}

#[test]
fn fields_make_a_wish() {
    let mut form = form();
    press(&mut form, "→\tdb1\x082\t");
    clear(&mut form);
    press(&mut form, "128\t\x084\t \t→");
    let wish = Wish {
        image: "tiny".to_owned(),
        name: "db2".to_owned(),
        memory_mib: 128,
        vcpus: 4,
        is_managed: false,
        is_started: false,
    };
    assert_eq!(form.wish(&facts()), Ok(wish));
    press(&mut form, "\t→");
    assert_eq!(
        form.wish(&facts()).unwrap().image,
        "debian",
        "round it goes"
    );
    press(&mut form, "\r→");
    assert!(form.wish(&facts()).unwrap().is_started, "and back");
}

#[test]
fn names_are_judged_while_they_are_typed() {
    let mut form = form();
    press(&mut form, "\t");
    for (name, told) in [
        ("", "is not empty"),
        ("12", "is not a number"),
        ("a/b", "no '/'"),
        ("a'b", "no quotes"),
        ("web", "there is a 'web' already"),
    ] {
        clear(&mut form);
        press(&mut form, name);
        let why = form.wish(&facts()).unwrap_err();
        assert!(why.contains(told), "{name}: {why}");
    }
    press(&mut form, "2");
    assert!(form.wish(&facts()).is_ok());
}

#[test]
fn numbers_are_judged_by_the_reader_of_configurations_and_by_what_is_free() {
    let mut form = form();
    press(&mut form, "\tdb\t");
    for (memory, told) in [
        ("", "'memory'"),
        ("0", "it must be from 1"),
        ("99999999", "it must be from 1"),
        ("513", "only 512 MiB are free"),
    ] {
        clear(&mut form);
        press(&mut form, memory);
        let why = form.wish(&facts()).unwrap_err();
        assert!(why.contains(told), "{memory}: {why}");
    }
    press(&mut form, "\t\t\t ");
    assert!(form.wish(&facts()).is_ok(), "it does not start now");
    press(&mut form, "\r\r\x0817");
    let why = form.wish(&facts()).unwrap_err();
    assert!(
        why.contains("'vcpus' is 17; it must be from 1 to 16"),
        "{why}"
    );
    press(&mut form, "\x08x-");
    assert_eq!(
        form.wish(&facts()).unwrap().vcpus,
        1,
        "letters are no digits"
    );
}

#[test]
fn without_an_image_there_is_no_wish() {
    let mut form = Form::default();
    assert!(form.wish(&facts()).unwrap_err().contains("not said yet"));
    form.images(Vec::new());
    let why = form.wish(&facts()).unwrap_err();
    assert!(why.contains("'xenman image add' adds one"), "{why}");
}
