// SPDX-License-Identifier: MIT OR Apache-2.0
use super::{
    super::{
        action::{Action, KnownHost, Machine, Place, Target, Wanted, Wish},
        history::HISTORY,
        samples,
    },
    *,
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use mgmt_proto::messages::{DomainFlags, DomainState, EventKind};

fn model() -> Model {
    let mut model = Model::new("fake (aarch64)".to_owned(), Duration::from_secs(1));
    model.sample(samples::stats(
        10,
        &[("Domain-0", 0, 0), ("web", 1, 0), ("db", 2, 0)],
    ));
    model.sample(samples::stats(
        11,
        &[("Domain-0", 0, 5), ("web", 1, 100), ("db", 2, 900)],
    ));
    model
}

fn press(model: &mut Model, keys: &str) -> Option<Action> {
    let mut last = None;
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            other => KeyCode::Char(other),
        };
        last = model.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
    last
}

fn control(model: &mut Model, key: char) -> Option<Action> {
    model.key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL))
}

fn names(model: &Model) -> Vec<&str> {
    model
        .rows()
        .iter()
        .map(|row| row.summary().name.as_str())
        .collect()
}

fn target(domid: u16, name: &str) -> Target {
    Target {
        domid,
        name: name.to_owned(),
    }
}

#[test]
fn every_column_can_be_sorted_by() {
    let mut model = model();
    assert_eq!(
        names(&model),
        ["Domain-0", "web", "db"],
        "by number at first"
    );
    while model.sort != Column::Cpu {
        press(&mut model, ">");
    }
    assert_eq!(
        names(&model),
        ["db", "web", "Domain-0"],
        "the busiest first"
    );
    press(&mut model, "R");
    assert_eq!(names(&model), ["Domain-0", "web", "db"]);
    while model.sort != Column::Name {
        press(&mut model, "<");
    }
    assert_eq!(
        names(&model),
        ["db", "Domain-0", "web"],
        "letters, large or small"
    );
}

#[test]
fn the_selection_stays_with_its_domain() {
    let mut model = model();
    press(&mut model, "j");
    assert_eq!(
        press(&mut model, "c"),
        Some(Action::Console("web".to_owned()))
    );
    // It reboots: another number, the same UUID.
    model.sample(samples::stats(
        12,
        &[("Domain-0", 0, 5), ("db", 2, 900), ("web", 7, 0)],
    ));
    assert_eq!(
        press(&mut model, "p"),
        Some(Action::Pause(target(7, "web")))
    );
    // It goes: the last one is selected in its place.
    model.sample(samples::stats(13, &[("Domain-0", 0, 5), ("db", 2, 900)]));
    assert_eq!(press(&mut model, "p"), Some(Action::Pause(target(2, "db"))));
    model.sample(samples::stats(14, &[("Domain-0", 0, 5)]));
    assert_eq!(model.selected_row(), Some(0));
    assert_eq!(press(&mut model, "kkkjjj"), None);
}

#[test]
fn a_domain_that_comes_back_is_selected_again() {
    let mut model = model();
    press(&mut model, "j");
    model.sample(samples::stats(12, &[("Domain-0", 0, 5), ("db", 2, 900)]));
    assert_eq!(press(&mut model, "p"), Some(Action::Pause(target(2, "db"))));
    model.list(vec![off("web", DomainFlags::default())]);
    assert_eq!(
        press(&mut model, "s"),
        Some(Action::Start("web".to_owned()))
    );
    // Another choice counts more.
    model.list(Vec::new());
    press(&mut model, "k");
    model.list(vec![off("web", DomainFlags::default())]);
    assert_eq!(model.selected_row(), Some(0));
}

#[test]
fn keys_become_actions() {
    let mut model = model();
    press(&mut model, "j");
    let web = target(1, "web");
    for (key, action) in [
        ("c", Action::Console("web".to_owned())),
        ("p", Action::Pause(web.clone())),
        ("b", Action::Reboot(web.clone())),
        ("s", Action::Shutdown(web.clone())),
        ("q", Action::Quit),
    ] {
        assert_eq!(press(&mut model, key), Some(action));
    }
    let mut paused = samples::stats(12, &[("Domain-0", 0, 5), ("web", 1, 100)]);
    paused.domains[1].summary.state = DomainState::PAUSED;
    model.sample(paused);
    assert_eq!(press(&mut model, "p"), Some(Action::Unpause(web)));
    assert_eq!(control(&mut model, 'c'), Some(Action::Quit));
    assert_eq!(control(&mut model, 'p'), None);
}

#[test]
fn domain_0_is_left_alone() {
    let mut model = model();
    for key in ["c", "p", "b", "s", "d", "v", "x"] {
        assert_eq!(press(&mut model, key), None);
        assert!(model.word().is_some_and(|word| word.is_error));
        assert_eq!(model.prompt, None);
    }
}

#[test]
fn destroy_is_confirmed() {
    let mut model = model();
    press(&mut model, "j");
    assert_eq!(press(&mut model, "d"), None);
    assert_eq!(model.prompt, Some(Prompt::Destroy(target(1, "web"))));
    assert_eq!(press(&mut model, "n"), None);
    assert_eq!(model.prompt, None);
    assert_eq!(press(&mut model, "y"), None, "it is too late for that");
    assert_eq!(
        press(&mut model, "dy"),
        Some(Action::Destroy(target(1, "web")))
    );
}

#[test]
fn a_file_is_asked_for_with_a_default() {
    let mut model = model();
    press(&mut model, "j");
    let save = |file: &str| Some(Action::Save(target(1, "web"), file.to_owned()));
    assert_eq!(press(&mut model, "v\n"), save("web.save"));
    assert_eq!(press(&mut model, "v\x08\x08\x08\x08old\n"), save("web.old"));
    press(&mut model, "v");
    control(&mut model, 'u');
    assert_eq!(press(&mut model, "\n"), None, "no name is no name");
    assert_eq!(press(&mut model, "q\n"), save("q"), "q is a letter here");
    assert_eq!(press(&mut model, "v\x1b"), None);
    assert_eq!(model.prompt, None);
}

#[test]
fn an_old_sample_is_stale() {
    let mut model = model();
    assert_eq!(
        (model.age(), model.is_stale()),
        (Some(Duration::ZERO), false)
    );
    model.tick(Duration::from_secs(4));
    assert!(model.is_stale());
    model.lose("cannot reach xend".to_owned());
    model.sample(samples::stats(20, &[("Domain-0", 0, 5)]));
    assert_eq!((model.is_stale(), model.lost.as_deref()), (false, None));
}

#[test]
fn good_news_passes_and_bad_news_stays() {
    let mut model = model();
    model.say(Ok("done".to_owned()));
    model.tick(SPOKEN);
    assert_eq!(model.word(), None);
    model.say(Err("refused".to_owned()));
    model.tick(SPOKEN * 3);
    assert_eq!(model.word().map(|word| word.text.as_str()), Some("refused"));
}

#[test]
fn histories_are_bounded_and_end_with_their_domains() {
    let mut model = model();
    for second in 0..HISTORY as u64 + 20 {
        let busy = 900 + second * 500;
        model.sample(samples::stats(12 + second, &[("db", 2, busy)]));
    }
    assert_eq!(model.histories.len(), 1);
    assert_eq!(model.load.len(), HISTORY);
    let rows = model.rows();
    let history = model.history(&rows[0].summary().uuid).expect("it is there");
    assert_eq!((history.len(), history.back()), (HISTORY, Some(&50.0)));
}

fn key(model: &mut Model, code: KeyCode) -> Option<Action> {
    model.key(KeyEvent::new(code, KeyModifiers::NONE))
}

/// A managed domain that is off, and one that crashed and waits.
fn off(name: &str, flags: DomainFlags) -> DomainSummary {
    let mut stats = samples::stats(1, &[(name, DomainSummary::NO_DOMID, 0)]);
    let mut summary = stats.domains.remove(0).summary;
    summary.state = DomainState::OFF;
    summary.flags = DomainFlags::MANAGED.with(flags);
    summary
}

fn with_off() -> Model {
    let mut model = model();
    let none = DomainFlags::default();
    model.list(vec![
        off("idle", none),
        off("loop", DomainFlags::WAITING),
        off("web", none),
    ]);
    model
}

fn said(model: &Model) -> &str {
    model.word().map_or("", |word| word.text.as_str())
}

#[test]
fn domains_that_are_off_are_in_the_table_and_can_be_started() {
    let mut model = with_off();
    assert_eq!(
        names(&model),
        ["Domain-0", "web", "db", "idle", "loop"],
        "web runs, whatever the list said"
    );
    press(&mut model, "jjj");
    assert_eq!(
        press(&mut model, "s"),
        Some(Action::Start("idle".to_owned()))
    );
    for keys in ["p", "b", "d", "v"] {
        assert_eq!(press(&mut model, keys), None);
        assert_eq!(said(&model), "'idle' is off: s starts it");
    }
    model.list(Vec::new());
    assert_eq!(names(&model), ["Domain-0", "web", "db"]);
}

#[test]
fn a_domain_that_waits_to_be_started_again_can_be_ended() {
    let mut model = with_off();
    press(&mut model, "jjjj");
    assert_eq!(press(&mut model, "s"), None);
    assert!(said(&model).contains("d ends that"), "{}", said(&model));
    let target = target(DomainSummary::NO_DOMID, "loop");
    assert_eq!(press(&mut model, "dy"), Some(Action::Destroy(target)));
}

#[test]
fn only_a_definition_of_a_domain_that_is_off_is_deleted() {
    let mut model = with_off();
    press(&mut model, "jjjx");
    assert_eq!(model.prompt, Some(Prompt::Delete("idle".to_owned())));
    assert_eq!(press(&mut model, "n"), None);
    assert_eq!(said(&model), "'idle' is left alone");
    assert_eq!(
        press(&mut model, "xy"),
        Some(Action::Delete("idle".to_owned()))
    );
    press(&mut model, "kkx");
    assert_eq!(model.prompt, None);
    assert!(said(&model).contains("no definition"), "{}", said(&model));
    let mut stats = samples::stats(12, &[("Domain-0", 0, 5), ("web", 1, 100)]);
    stats.domains[1].summary.flags = DomainFlags::MANAGED;
    model.sample(stats);
    assert_eq!(press(&mut model, "x"), None);
    assert!(
        said(&model).contains("shut it down (s)"),
        "{}",
        said(&model)
    );
}

#[test]
fn details_keep_to_their_domain() {
    let mut model = model();
    press(&mut model, "j\n");
    assert_eq!(model.watched(), Some(DomainRef::Name("web".to_owned())));
    assert_eq!(
        press(&mut model, "b"),
        Some(Action::Reboot(target(1, "web")))
    );
    model.sample(samples::stats(12, &[("Domain-0", 0, 5), ("db", 2, 900)]));
    assert_eq!(
        press(&mut model, "s"),
        None,
        "it is gone, and no other is meant"
    );
    assert_eq!(key(&mut model, KeyCode::Esc), None);
    assert_eq!(model.watched(), None);
    press(&mut model, "i");
    assert_eq!(model.watched(), Some(DomainRef::Name("db".to_owned())));
}

#[test]
fn events_are_kept_and_bounded() {
    let mut model = model();
    let event = |time_ns| Event {
        time_ns,
        domid: 1,
        name: "web".to_owned(),
        kind: EventKind::CREATED,
        detail: None,
    };
    model.happened((0..300).map(event).collect());
    model.happened(vec![event(300)]);
    let times = [model.events.first(), model.events.last()];
    assert_eq!(
        times.map(|event| event.map(|event| event.time_ns)),
        [Some(45), Some(300)]
    );
}

#[test]
fn a_sample_in_between_is_shown_and_no_part_of_the_history() {
    let mut model = model();
    let mut early = samples::stats(11, &[("Domain-0", 0, 5), ("new", 3, 1)]);
    early.host.time_ns += 300_000_000;
    model.sample(early);
    assert_eq!(names(&model), ["Domain-0", "new"]);
    assert_eq!(model.load.len(), 1);
    model.sample(samples::stats(12, &[("Domain-0", 0, 5), ("new", 3, 1)]));
    assert_eq!(model.load.len(), 2);
}

#[test]
fn the_host_is_chosen_from_a_list() {
    let mut model = model();
    assert_eq!(press(&mut model, "h"), Some(Action::Fetch(Wanted::Hosts)));
    assert_eq!(press(&mut model, "\n"), None, "there is nothing yet");
    let host = |name: &str| KnownHost {
        name: name.to_owned(),
        address: format!("unix:/{name}"),
    };
    model.hosts(vec![host("a"), host("b")]);
    assert_eq!(press(&mut model, "jj\n"), Some(Action::Switch(host("b"))));
    assert_eq!(said(&model), "connecting to b");
    model.say(Err("cannot reach xend".to_owned()));
    assert_eq!(
        names(&model),
        ["Domain-0", "web", "db"],
        "the old host stays"
    );
    model.connect("b (x86_64)".to_owned(), false);
    assert_eq!(
        (names(&model).len(), model.title.as_str()),
        (0, "b (x86_64)")
    );
    assert_eq!(said(&model), "this is b (x86_64)");
}

#[test]
fn a_host_that_comes_back_keeps_its_view() {
    let mut model = model();
    press(&mut model, "ji");
    model.connect("fake (aarch64)".to_owned(), true);
    assert_eq!(model.watched(), Some(DomainRef::Name("web".to_owned())));
    assert_eq!(model.rows().len(), 3);
}

#[test]
fn what_is_saved_is_restored_or_deleted() {
    let mut model = model();
    assert_eq!(press(&mut model, "m"), Some(Action::Fetch(Wanted::Saved)));
    let machine = |label: &str, domain: Option<&str>| Machine {
        label: label.to_owned(),
        place: Place::Store,
        domain: domain.map(|name| (name.to_owned(), [9; 16])),
        memory_kib: 1024,
        stored_kib: 10,
        saved_ns: None,
    };
    let two = machine("two", Some("gone"));
    model.saved(vec![
        machine("bad", None),
        machine("one", Some("web")),
        two.clone(),
    ]);
    assert_eq!(press(&mut model, "\n"), None);
    assert_eq!(said(&model), "'bad' is damaged");
    press(&mut model, "j");
    assert_eq!(press(&mut model, "\n"), None);
    assert!(
        said(&model).contains("destroy it (d) first"),
        "{}",
        said(&model)
    );
    assert_eq!(press(&mut model, "jxn"), None);
    assert_eq!(
        press(&mut model, "xy"),
        Some(Action::DeleteSaved(two.clone()))
    );
    assert_eq!(press(&mut model, "\n"), Some(Action::Restore(two)));
    assert_eq!(model.watched(), None);
}

#[test]
fn a_domain_is_added_and_selected_when_it_is_there() {
    let mut model = model();
    assert_eq!(press(&mut model, "a"), Some(Action::Fetch(Wanted::Images)));
    model.images(vec![ImageSummary {
        name: "debian".to_owned(),
        description: String::new(),
        arch: "aarch64".to_owned(),
        roles: Vec::new(),
        length: 1,
        added_ns: None,
    }]);
    key(&mut model, KeyCode::Tab);
    press(&mut model, "web\n");
    assert_eq!(said(&model), "there is a 'web' already");
    let wish = Wish {
        image: "debian".to_owned(),
        name: "web2".to_owned(),
        memory_mib: 256,
        vcpus: 1,
        is_managed: true,
        is_started: true,
    };
    assert_eq!(press(&mut model, "2\n"), Some(Action::Add(wish)));
    let with_it = |second| samples::stats(second, &[("Domain-0", 0, 5), ("web2", 3, 1)]);
    model.sample(with_it(12));
    assert_eq!(
        press(&mut model, "p"),
        Some(Action::Pause(target(3, "web2")))
    );
    // One that was refused is not waited for.
    press(&mut model, "k");
    model.awaited = Some("late".to_owned());
    model.say(Err("there is no room".to_owned()));
    model.sample(samples::stats(13, &[("Domain-0", 0, 5), ("late", 4, 1)]));
    assert_eq!(model.selected_row(), Some(0));
}

#[test]
fn all_keys_are_shown_until_one_leads_back() {
    let mut model = model();
    press(&mut model, "j?");
    assert!(model.is_helping);
    assert_eq!(press(&mut model, "s"), None, "it is no time for that");
    press(&mut model, "?");
    assert!(!model.is_helping);
    assert_eq!(press(&mut model, "?q"), None, "q leads back too");
    assert_eq!(press(&mut model, "q"), Some(Action::Quit));
}

#[test]
fn who_does_not_want_to_be_asked_is_not() {
    let mut model = with_off();
    model.confirms = false;
    press(&mut model, "j");
    assert_eq!(
        press(&mut model, "d"),
        Some(Action::Destroy(target(1, "web")))
    );
    press(&mut model, "jj");
    assert_eq!(
        press(&mut model, "x"),
        Some(Action::Delete("idle".to_owned()))
    );
    press(&mut model, "kv");
    assert!(model.prompt.is_some(), "where to is still asked");
}

#[test]
fn where_a_domain_was_saved_to_before_is_an_arrow_away() {
    let mut model = model();
    model.recall = Recall::of(vec!["store:old".to_owned()]);
    press(&mut model, "jv");
    for (key, file) in [
        (KeyCode::Up, "store:old"),
        (KeyCode::Down, "web.save"),
        (KeyCode::Up, "store:old"),
    ] {
        model.key(KeyEvent::new(key, KeyModifiers::NONE));
        let expected = Prompt::SaveTo(target(1, "web"), file.to_owned());
        assert_eq!(model.prompt, Some(expected));
    }
    let saved = Action::Save(target(1, "web"), "store:old".to_owned());
    assert_eq!(press(&mut model, "\n"), Some(saved));
}
