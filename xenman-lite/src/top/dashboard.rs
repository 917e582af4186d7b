// SPDX-License-Identifier: MIT OR Apache-2.0
//! The dashboard at work: news and keys go to the model, its actions to the host.

use super::{
    feed::{Feed, News, sentence},
    model::{Action, Model, Target},
    screen::Screen,
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
use mgmt_proto::messages::{DomainRef, RequestBody, Shutdown};
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
    client: Arc<Client>,
    /// Signals that end it, and the one that a long command may be ended by.
    ended: Asked,
    interrupted: Asked,
    started: Instant,
}

impl Dashboard {
    pub(super) fn new(host: Host, client: Client, interval: Duration) -> Result<Self, Problem> {
        let welcome = client.welcome();
        let title = format!("{} ({})", welcome.board, welcome.arch);
        let client = Arc::new(client);
        Ok(Self {
            model: Model::new(title, interval),
            feed: Feed::start(host, client.clone(), interval),
            client,
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
                Some(action) => self.ask(action),
            }
        }
        Ok(())
    }

    fn hear(&mut self) {
        self.model.tick(self.started.elapsed());
        while let Ok(news) = self.feed.news.try_recv() {
            match news {
                News::Connected(client) => self.client = client,
                News::Sample(stats) => self.model.sample(stats),
                News::Lost(why) => self.model.lose(why),
                News::Done(outcome) => self.model.say(outcome),
            }
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

    fn ask(&mut self, action: Action) {
        let wish = |domid| Shutdown {
            domain: DomainRef::Id(domid),
            wait_ms: 0,
        };
        let by_id = |target: &Target| DomainRef::Id(target.domid);
        let (body, target, done) = match action {
            Action::Pause(it) => (RequestBody::Pause(by_id(&it)), it, "is paused"),
            Action::Unpause(it) => (RequestBody::Unpause(by_id(&it)), it, "runs again"),
            Action::Reboot(it) => (
                RequestBody::Reboot(wish(it.domid)),
                it,
                "was asked to reboot",
            ),
            Action::Shutdown(it) => (
                RequestBody::Shutdown(wish(it.domid)),
                it,
                "was asked to shut down",
            ),
            Action::Destroy(it) => (RequestBody::Destroy(by_id(&it)), it, "is destroyed"),
            Action::Console(_) | Action::Save(..) | Action::Quit => return,
        };
        let done = format!("'{}' {done}", target.name);
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
