// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the dashboard's samples come from: a thread that asks for them, and connects again when xend was away.

use super::sample;
use crate::{
    client_name,
    link::{Client, Host, LinkError},
    problem::Problem,
};
use mgmt_proto::messages::{RequestBody, Stats};
use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// How soon a host that is away is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long it may take to answer then.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the dashboard hears.
pub(super) enum News {
    Connected(Arc<Client>),
    Sample(Stats),
    /// There is no way to xend.
    Lost(String),
    /// What came of something that was asked for.
    Done(Result<String, String>),
}

/// News, and a way to cause some.
pub(super) struct Feed {
    pub(super) news: Receiver<News>,
    tell: Sender<News>,
}

/// Nobody listens any more.
struct Deaf;

impl Feed {
    /// Starts asking a host for samples.
    pub(super) fn start(host: Host, client: Arc<Client>, interval: Duration) -> Self {
        let (tell, news) = channel();
        let told = tell.clone();
        thread::spawn(move || {
            let mut client = Some(client);
            while follow(&host, client.take(), interval, &told).is_ok() {
                thread::sleep(AGAIN);
            }
        });
        Self { news, tell }
    }

    /// Asks for something; what comes of it is news.
    pub(super) fn ask(&self, client: Arc<Client>, body: RequestBody, done: String) {
        let tell = self.tell.clone();
        thread::spawn(move || {
            let outcome = client.call(body).map(|_| done);
            let outcome = outcome.map_err(|error| sentence(&error.into()));
            drop(tell.send(News::Done(outcome)));
        });
    }
}

/// A problem on one line.
pub(super) fn sentence(problem: &Problem) -> String {
    match &problem.remedy {
        Some(remedy) => format!("{} ({remedy})", problem.message),
        None => problem.message.clone(),
    }
}

/// Passes samples on until there are no more.
fn follow(
    host: &Host,
    client: Option<Arc<Client>>,
    interval: Duration,
    tell: &Sender<News>,
) -> Result<(), Deaf> {
    let say = |news| tell.send(news).map_err(|_| Deaf);
    let lost = |error: LinkError| News::Lost(sentence(&error.into()));
    let client = match client {
        Some(client) => client,
        None => match Client::connect_within(host, &client_name(), PATIENCE) {
            Ok(client) => Arc::new(client),
            Err(error) => return say(lost(error)),
        },
    };
    say(News::Connected(client.clone()))?;
    loop {
        match sample(&client) {
            Ok(stats) => say(News::Sample(stats))?,
            Err(problem) => return say(News::Lost(sentence(&problem))),
        }
        thread::sleep(interval);
    }
}
