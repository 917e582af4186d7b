// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dashboard at work: news and keys go to the model, its actions to the host.

use super::{
    action::{Action, KnownHost, Target, Wanted},
    feed::{self, Feed, News, sentence},
    hosts::known_hosts,
    model::Model,
    screen::Screen,
    work,
};
use crate::{
    console,
    link::{Client, Host},
    output::{Output, note},
    problem::Problem,
    save,
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

/// The dashboard.
pub(super) struct Dashboard {
    model: Model,
    feed: Feed,
    host: Host,
    client: Arc<Client>,
    /// The domain that the feed looks at in detail.
    watched: Option<DomainRef>,
    /// Signals that end it, and the one that a long command may be ended by.
    ended: Asked,
    interrupted: Asked,
    started: Instant,
}

fn title(client: &Client) -> String {
    let welcome = client.welcome();
    format!("{} ({})", welcome.board, welcome.arch)
}

impl Dashboard {
    pub(super) fn new(host: Host, client: Client, interval: Duration) -> Result<Self, Problem> {
        let client = Arc::new(client);
        Ok(Self {
            model: Model::new(title(&client), interval),
            feed: Feed::start(host.clone(), client.clone(), interval),
            host,
            client,
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
                model.connect(title(&client), host == self.host);
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
        let client = self.client.clone();
        match action {
            Action::Add(wish) => self
                .feed
                .work(client, move |client, tell| work::add(client, &wish, tell)),
            Action::Start(name) => {
                self.feed
                    .work(client, move |client, tell| work::start(client, &name, tell));
            }
            Action::Restore(label) => {
                self.feed.work(client, move |client, tell| {
                    work::restore(client, label, tell)
                });
            }
            Action::DeleteSaved(label) => {
                self.feed.work(client, move |client, tell| {
                    work::delete_saved(client, label, tell)
                });
            }
            Action::Fetch(Wanted::Images) => {
                self.feed.work(client, |client, _| feed::images(client))
            }
            Action::Fetch(Wanted::Saved) => self.feed.work(client, |client, _| feed::saved(client)),
            Action::Fetch(Wanted::Hosts) => self.model.hosts(known_hosts(&self.host)),
            Action::Switch(host) => self.switch(&host),
            other => self.ask(other),
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
}

/// By its number; one that waits to be started again has none.
fn named(target: &Target) -> DomainRef {
    match target.domid {
        DomainSummary::NO_DOMID => DomainRef::Name(target.name.clone()),
        domid => DomainRef::Id(domid),
    }
}
