// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the dashboard's news come from: a thread that asks a host for samples, connects again when xend was away, and
//! turns to another host when told; and two that wait for what happens there.
//!
//! A host is asked for one sample per interval, and for what a domain used if one is looked at in detail. What else is shown
//! is asked for when something happened.

mod follow;

use super::{action::Machine, sample, saved};
use crate::{
    client_name,
    conf::Conf,
    link::{Client, Host},
    problem::Problem,
};
use mgmt_proto::messages::{
    DomainDetail, DomainRef, DomainSummary, DomainUsage, Event, ImageSummary, Reply, RequestBody,
    Stats,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::Duration,
};

/// How soon a host that is away is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// How long it may take to answer then.
const PATIENCE: Duration = Duration::from_secs(5);

/// What happens within this time is looked at together.
const TOGETHER: Duration = Duration::from_millis(100);

/// What the dashboard hears.
pub(super) enum News {
    Connected(Host, Arc<Client>),
    Sample(Stats),
    /// All domains.
    List(Vec<DomainSummary>),
    /// The domain that is looked at.
    Detail(DomainDetail),
    /// What that used.
    Usage(Box<DomainUsage>),
    Events(Vec<Event>),
    /// The log goes on with this; or somewhere else than where it stopped.
    Log(Vec<u8>),
    LogGap,
    Images(Vec<ImageSummary>),
    Saved(Vec<Machine>),
    /// There is no way to xend.
    Lost(String),
    /// What something that was asked for is at.
    Progress(String),
    /// What came of something that was asked for.
    Done(Result<String, String>),
}

/// What the thread that samples is told.
enum Command {
    /// Something happened.
    Look,
    /// Another domain is looked at in detail, or none.
    Watch(Option<DomainRef>),
    /// Another host is looked at.
    Use(Host, Arc<Client>),
}

/// News of a connection; connections are counted.
type Told = (u64, News);

/// The connection that there is before anything is told of it.
const FIRST: u64 = 1;

/// News, and ways to cause some.
pub(super) struct Feed {
    news: Receiver<Told>,
    tell: Sender<Told>,
    commands: Sender<Command>,
    connection: u64,
}

/// Nobody listens any more.
struct Deaf;

impl Feed {
    /// Starts asking a host.
    pub(super) fn start(host: Host, client: Arc<Client>, interval: Duration) -> Self {
        let (tell, news) = channel();
        let (commands, orders) = channel();
        let sampler = Sampler {
            host,
            client: None,
            connection: Arc::new(AtomicU64::new(FIRST - 1)),
            interval,
            tell: tell.clone(),
            commands: commands.clone(),
            orders,
            watched: None,
            is_news: true,
        };
        thread::spawn(move || sampler.run(client));
        Self {
            news,
            tell,
            commands,
            connection: FIRST,
        }
    }

    /// The next news, if there are any; those of a host that is not looked at any more are none.
    pub(super) fn next(&mut self) -> Option<News> {
        loop {
            let (connection, news) = self.news.try_recv().ok()?;
            if matches!(news, News::Connected(..)) {
                self.connection = connection;
            }
            let is_word = matches!(news, News::Done(_) | News::Progress(_));
            if is_word || connection == self.connection {
                return Some(news);
            }
        }
    }

    /// Asks for something; what comes of it is news, and a reason to look.
    pub(super) fn ask(&self, client: Arc<Client>, body: RequestBody, done: String) {
        self.work(client, move |client, _| {
            client.call(body)?;
            Ok(News::Done(Ok(done)))
        });
    }

    /// Does something with a client that may take a while.
    pub(super) fn work(
        &self,
        client: Arc<Client>,
        work: impl FnOnce(&Arc<Client>, &dyn Fn(String)) -> Result<News, Problem> + Send + 'static,
    ) {
        let (tell, commands) = (self.tell.clone(), self.commands.clone());
        let connection = self.connection;
        thread::spawn(move || {
            let say = |news| drop(tell.send((connection, news)));
            let outcome = work(&client, &|text| say(News::Progress(text)));
            say(outcome.unwrap_or_else(|problem| News::Done(Err(sentence(&problem)))));
            drop(commands.send(Command::Look));
        });
    }

    /// Looks at a domain in detail, or at none.
    pub(super) fn watch(&self, domain: Option<DomainRef>) {
        drop(self.commands.send(Command::Watch(domain)));
    }

    /// Looks at another host, if there is a way to it.
    pub(super) fn switch(&self, host: Host) {
        let (tell, commands) = (self.tell.clone(), self.commands.clone());
        let connection = self.connection;
        thread::spawn(
            move || match Client::connect_within(&host, &client_name(), PATIENCE) {
                Ok(client) => drop(commands.send(Command::Use(host, Arc::new(client)))),
                Err(error) => {
                    let outcome = Err(sentence(&error.into()));
                    drop(tell.send((connection, News::Done(outcome))));
                }
            },
        );
    }
}

/// A problem on one line.
pub(super) fn sentence(problem: &Problem) -> String {
    match &problem.remedy {
        Some(remedy) => format!("{} ({remedy})", problem.message),
        None => problem.message.clone(),
    }
}

/// The thread that asks.
struct Sampler {
    host: Host,
    client: Option<Arc<Client>>,
    /// The connection that counts now.
    connection: Arc<AtomicU64>,
    interval: Duration,
    tell: Sender<Told>,
    /// For those that wait for what happens.
    commands: Sender<Command>,
    orders: Receiver<Command>,
    watched: Option<DomainRef>,
    /// Whether something happened that samples do not tell.
    is_news: bool,
}

impl Sampler {
    fn run(mut self, client: Arc<Client>) {
        let host = self.host.clone();
        let mut is_heard = self.begin(host, client);
        while is_heard.is_ok() {
            is_heard = self.round();
        }
    }

    fn say(&self, news: News) -> Result<(), Deaf> {
        let connection = self.connection.load(Ordering::Relaxed);
        self.tell.send((connection, news)).map_err(|_| Deaf)
    }

    /// Asks once, and waits until it is time to ask again.
    fn round(&mut self) -> Result<(), Deaf> {
        let outcome = match self.client.clone() {
            Some(client) => self.look(&client)?,
            None => match Client::connect_within(&self.host, &client_name(), PATIENCE) {
                Ok(client) => return self.begin(self.host.clone(), Arc::new(client)),
                Err(error) => Err(error.into()),
            },
        };
        match outcome {
            Ok(()) => self.pause(self.interval),
            Err(problem) => {
                self.client = None;
                self.say(News::Lost(sentence(&problem)))?;
                self.pause(AGAIN)
            }
        }
    }

    /// Looks at a host from now on.
    fn begin(&mut self, host: Host, client: Arc<Client>) -> Result<(), Deaf> {
        self.host = host;
        self.is_news = true;
        self.connection.fetch_add(1, Ordering::Relaxed);
        self.say(News::Connected(self.host.clone(), client.clone()))?;
        follow::start(self, &client);
        self.client = Some(client);
        Ok(())
    }

    /// Asks for everything that is due.
    fn look(&mut self, client: &Client) -> Result<Result<(), Problem>, Deaf> {
        let stats = match sample(client) {
            Ok(stats) => stats,
            Err(problem) => return Ok(Err(problem)),
        };
        self.say(News::Sample(stats))?;
        if let Some(watched) = self.watched.clone() {
            self.look_closer(client, watched)?;
        }
        if std::mem::take(&mut self.is_news)
            && let Ok(Reply::List(domains)) = client.call(RequestBody::List)
        {
            self.say(News::List(domains))?;
        }
        Ok(Ok(()))
    }

    /// Asks about a domain, which may be gone: the next sample tells that, and that xend is.
    fn look_closer(&self, client: &Client, domain: DomainRef) -> Result<(), Deaf> {
        if let Ok(Reply::Usage(used)) = client.call(RequestBody::Usage(domain.clone())) {
            self.say(News::Usage(used))?;
        }
        if self.is_news
            && let Ok(Reply::Domain(detail)) = client.call(RequestBody::Show(domain))
        {
            self.say(News::Detail(detail))?;
        }
        Ok(())
    }

    /// Waits for this long, or until there is a reason to look at once.
    fn pause(&mut self, time: Duration) -> Result<(), Deaf> {
        match self.orders.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => Err(Deaf),
            Ok(first) => {
                thread::sleep(TOGETHER);
                let others: Vec<Command> = self.orders.try_iter().collect();
                let mut all = [first].into_iter().chain(others);
                all.try_for_each(|command| self.obey(command))
            }
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), Deaf> {
        self.is_news = true;
        match command {
            Command::Look => Ok(()),
            Command::Watch(domain) => {
                self.watched = domain;
                Ok(())
            }
            Command::Use(host, client) => self.begin(host, client),
        }
    }
}

/// What a view shows that no sample brings.
pub(super) fn images(client: &Client) -> Result<News, Problem> {
    match client.call(RequestBody::ImageList)? {
        Reply::Images(images) => Ok(News::Images(images)),
        _ => Err(Problem::nonsense("a list of images")),
    }
}

/// The same of saved machines.
pub(super) fn machines(client: &Client, conf: &Conf) -> Result<News, Problem> {
    match client.call(RequestBody::SnapshotList)? {
        Reply::Snapshots(snapshots) => {
            // Without a folder there is nothing on this computer.
            let here = conf.saved().map(|saved| saved.list());
            let stored = snapshots.into_iter().map(saved::in_store);
            let here = here.into_iter().flatten().map(saved::here);
            Ok(News::Saved(stored.chain(here).collect()))
        }
        _ => Err(Problem::nonsense("a list of snapshots")),
    }
}

#[cfg(test)]
mod tests;
