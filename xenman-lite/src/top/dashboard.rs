// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dashboard at work: news and keys go to the model, its actions to the host.

use super::{
    action::{Action, KnownHost, Machine, Place, Target, Wanted},
    feed::{self, Feed, News, sentence},
    hosts::{known_hosts, name_of},
    model::Model,
    recall::Recall,
    screen::Screen,
    work,
};
use crate::{
    args,
    conf::Conf,
    console, history,
    link::{Client, Host},
    output::{Output, note},
    problem::Problem,
    restore, save,
    signals::{self, Asked},
};
use crossterm::event::{self, Event, KeyEventKind};
use mgmt_proto::messages::{DomainRef, DomainSummary, RequestBody, Shutdown};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// How often the screen is drawn when nothing is typed.
const LOOK: Duration = Duration::from_millis(200);

/// The prompt that asks where to save to, in the history.
const SAVE_PROMPT: &str = "save";

/// The dashboard.
pub(super) struct Dashboard {
    model: Model,
    feed: Feed,
    host: Host,
    client: Arc<Client>,
    conf: Arc<Conf>,
    /// The domain that the feed looks at in detail.
    watched: Option<DomainRef>,
    /// Signals that end it, and the one that a long command may be ended by.
    ended: Asked,
    interrupted: Asked,
    started: Instant,
}

impl Dashboard {
    pub(super) fn new(
        (host, client): (Host, Client),
        conf: Arc<Conf>,
        interval: Duration,
    ) -> Result<Self, Problem> {
        let client = Arc::new(client);
        let mut model = Model::new(title(&client, &host, &conf), interval);
        model.confirms = conf.confirms()?;
        model.recall = Recall::of(history::load(conf.home(), SAVE_PROMPT));
        Ok(Self {
            model,
            feed: Feed::start(host.clone(), client.clone(), interval),
            host,
            client,
            conf,
            watched: None,
            ended: signals::watch(&[SIGTERM, SIGHUP])?,
            interrupted: signals::watch(&[SIGINT])?,
            started: Instant::now(),
        })
    }

    /// Runs until the operator leaves.
    pub(super) fn run(mut self) -> Result<(), Problem> {
        let mut screen = Some(Screen::enter()?);
        while !self.ended.to_end() && !self.interrupted.to_end() {
            self.hear();
            if let Some(screen) = &mut screen {
                screen.draw(&self.model)?;
            }
            match self.typed()? {
                None => {}
                Some(Action::Quit) => break,
                Some(Action::Console(name)) => {
                    drop(screen.take());
                    self.console(&name);
                    screen = Some(Screen::enter()?);
                }
                Some(Action::Save(target, file)) => {
                    drop(screen.take());
                    self.save(&target, file);
                    screen = Some(Screen::enter()?);
                }
                Some(Action::Restore(Machine {
                    place: Place::Here(file),
                    ..
                })) => {
                    drop(screen.take());
                    self.restore(&file);
                    screen = Some(Screen::enter()?);
                }
                Some(action) => self.act(action),
            }
        }
        Ok(())
    }

    fn hear(&mut self) {
        self.model.tick(self.started.elapsed());
        while let Some(news) = self.feed.next() {
            self.take(news);
        }
        let watched = self.model.watched();
        if watched != self.watched {
            self.feed.watch(watched.clone());
            self.watched = watched;
        }
    }

    fn take(&mut self, news: News) {
        let model = &mut self.model;
        match news {
            News::Connected(host, client) => {
                model.connect(title(&client, &host, &self.conf), host == self.host);
                (self.host, self.client) = (host, client);
            }
            News::Sample(stats) => model.sample(stats),
            News::List(domains) => model.list(domains),
            News::Detail(detail) => model.show(detail),
            News::Usage(used) => model.used(*used),
            News::Events(events) => model.happened(events),
            News::Log(piece) => model.journal.take(&piece),
            News::LogGap => model.journal.skip(),
            News::Images(images) => model.images(images),
            News::Saved(snapshots) => model.saved(snapshots),
            News::Lost(why) => model.lose(why),
            News::Progress(text) => model.progress(text),
            News::Done(outcome) => model.say(outcome),
        }
    }

    /// What the next key asks for, if there is one soon.
    fn typed(&mut self) -> Result<Option<Action>, Problem> {
        let failed = |error| Problem::new(format!("cannot read the terminal: {error}"));
        if !event::poll(LOOK).map_err(failed)? {
            return Ok(None);
        }
        match event::read().map_err(failed)? {
            Event::Key(key) if key.kind != KeyEventKind::Release => Ok(self.model.key(key)),
            _ => Ok(None),
        }
    }

    fn act(&mut self, action: Action) {
        let (client, conf) = (self.client.clone(), self.conf.clone());
        match action {
            Action::Add(wish) => self.feed.work(client, move |client, tell| {
                work::add(client, &conf, &wish, tell)
            }),
            Action::Start(name) => {
                self.feed
                    .work(client, move |client, tell| work::start(client, &name, tell));
            }
            Action::Restore(machine) => {
                let label = machine.label;
                self.feed.work(client, move |client, tell| {
                    work::restore(client, label, tell)
                });
            }
            Action::DeleteSaved(machine) => {
                self.feed.work(client, move |client, tell| {
                    work::delete_saved(client, &conf, machine, tell)
                });
            }
            Action::Fetch(Wanted::Images) => {
                self.feed.work(client, |client, _| feed::images(client))
            }
            Action::Fetch(Wanted::Saved) => {
                self.feed
                    .work(client, move |client, _| feed::machines(client, &conf));
            }
            Action::Fetch(Wanted::Hosts) => self.find_hosts(),
            Action::Switch(host) => self.switch(&host),
            other => self.ask(other),
        }
    }

    fn find_hosts(&mut self) {
        match known_hosts(&self.host, &self.conf) {
            Ok(hosts) => self.model.hosts(hosts),
            Err(problem) => self.model.say(Err(sentence(&problem))),
        }
    }

    fn switch(&mut self, known: &KnownHost) {
        match known.address.parse() {
            Ok(host) => self.feed.switch(host),
            Err(error) => self.model.say(Err(sentence(&Problem::from(error)))),
        }
    }

    /// What takes one request.
    fn ask(&mut self, action: Action) {
        let wish = |target: &Target| Shutdown {
            domain: named(target),
            wait_ms: 0,
        };
        let (body, name, done) = match action {
            Action::Pause(it) => (RequestBody::Pause(named(&it)), it.name, "is paused"),
            Action::Unpause(it) => (RequestBody::Unpause(named(&it)), it.name, "runs again"),
            Action::Reboot(it) => (
                RequestBody::Reboot(wish(&it)),
                it.name,
                "was asked to reboot",
            ),
            Action::Shutdown(it) => (
                RequestBody::Shutdown(wish(&it)),
                it.name,
                "was asked to shut down",
            ),
            Action::Destroy(it) => (RequestBody::Destroy(named(&it)), it.name, "is destroyed"),
            Action::Delete(name) => (RequestBody::Delete(name.clone()), name, "is deleted"),
            _ => return,
        };
        let done = format!("'{name}' {done}");
        self.feed.ask(self.client.clone(), body, done);
    }

    fn console(&mut self, name: &str) {
        if let Err(problem) = console::visit(&self.client, name, &self.ended) {
            self.model.say(Err(sentence(&problem)));
        }
    }

    /// Saves in the foreground: that takes a while, shows its progress and can be interrupted.
    fn save(&mut self, target: &Target, file: String) {
        // Without a history of the operator's, the dashboard has its own as long as it runs.
        let _kept = history::append(self.conf.home(), SAVE_PROMPT, &file);
        if Path::new(&file).exists() {
            let sentence = format!("{file} is there already: choose another name");
            return self.model.say(Err(sentence));
        }
        note(&format!(
            "xenman: saving '{}' to {file}; Ctrl-C gives it up",
            target.name
        ));
        let done = format!("'{}' is saved to {file}", target.name);
        let domain = target.domid.to_string();
        let saved = save::save_to(&self.client, Output { json: false }, &domain, &file);
        self.interrupted.forget();
        let outcome = saved.map(|()| done).map_err(|problem| sentence(&problem));
        self.model.say(outcome);
    }

    /// Restores from a file in the foreground: it is read first, and may have to be sent over a slow line.
    fn restore(&mut self, file: &Path) {
        note(&format!("xenman: restoring {}", file.display()));
        let order = args::Restore {
            source: file.to_string_lossy().into_owned(),
            paused: false,
            name: None,
        };
        let connect = || Ok(self.client.clone());
        let output = Output { json: false };
        let restored = restore::restore(connect, output, &self.conf, &order);
        let done = format!("{} is restored", file.display());
        let outcome = restored
            .map(|()| done)
            .map_err(|problem| sentence(&problem));
        self.model.say(outcome);
    }
}

/// How a host is called at the top of the screen.
fn title(client: &Client, host: &Host, conf: &Conf) -> String {
    let welcome = client.welcome();
    let name = name_of(host, conf);
    let name = name.map_or_else(String::new, |name| format!("{name}: "));
    format!("{name}{} ({})", welcome.board, welcome.arch)
}

/// By its number; one that waits to be started again has none.
fn named(target: &Target) -> DomainRef {
    match target.domid {
        DomainSummary::NO_DOMID => DomainRef::Name(target.name.clone()),
        domid => DomainRef::Id(domid),
    }
}
