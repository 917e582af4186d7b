// SPDX-License-Identifier: MIT OR Apache-2.0
//! `console`: a domain's console on the operator's terminal, or at the ends of pipes.
//!
//! Three threads besides the caller's: one asks xend for output, one reads the keys, one types them.
//! The caller's writes the output and decides when it is over. The console is followed by the domain's
//! name, so that a reboot does not end it; the terminal is itself again whatever happens.

mod keys;
mod output;
mod terminal;

use crate::{
    args,
    domains::{explain, show},
    link::Client,
    output::{Output, harmless, note},
    problem::Problem,
    signals::{self, Asked},
};
use keys::Keys;
use mgmt_proto::messages::{ConsoleChunk, ConsoleRead, DomainRef, ErrorCode, Reply, RequestBody};
use serde_json::json;
use signal_hook::consts::{SIGHUP, SIGTERM};
use std::{
    io::{IsTerminal, stdin, stdout},
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};
use terminal::RawMode;

/// Silence after the end of the input before leaving, unless said otherwise.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

/// Bytes of output asked for at once.
const PIECE: u32 = 16 * 1024;

/// How often the caller's thread looks at what no event tells it.
const LOOK: Duration = Duration::from_millis(100);

/// What the threads tell.
enum News {
    /// The console said something; so many bytes before it are gone.
    Output { bytes: Vec<u8>, lost: u64 },
    /// The operator wants to leave.
    Leave,
    /// There will be no more keys.
    InputEnded,
    /// The domain is gone.
    Gone,
    /// It cannot go on.
    Failed(Problem),
}

/// `console`.
pub(crate) fn console(
    client: &Arc<Client>,
    output: Output,
    console: &args::Console,
) -> Result<(), Problem> {
    let name = match DomainRef::parse(&console.domain) {
        // Numbers change when a domain reboots.
        DomainRef::Id(_) => show(client, &console.domain)?.name,
        DomainRef::Name(name) => name,
    };
    if console.dump {
        return dump(client, output, &name);
    }
    attach(
        client,
        &name,
        Duration::from_secs(u64::from(console.linger)),
    )
}

/// One piece of output of the domain with this name.
fn read(
    client: &Client,
    name: &str,
    cursor: Option<u64>,
    wait_ms: u32,
) -> Result<ConsoleChunk, Problem> {
    let domain = DomainRef::Name(name.to_owned());
    match client.call(RequestBody::ConsoleRead(ConsoleRead {
        domain,
        cursor,
        wait_ms,
        max: PIECE,
    }))? {
        Reply::Console(chunk) => Ok(chunk),
        _ => Err(Problem::nonsense("console output")),
    }
}

/// Prints what there is.
fn dump(client: &Client, output: Output, name: &str) -> Result<(), Problem> {
    let (mut cursor, mut all) = (None, Vec::new());
    loop {
        let chunk =
            read(client, name, cursor, 0).map_err(|problem| explain(client, name, problem))?;
        if chunk.bytes.is_empty() {
            break;
        }
        cursor = Some(chunk.next);
        all.extend_from_slice(&chunk.bytes);
    }
    if output.json {
        return output.json(&json!({ "text": String::from_utf8_lossy(&all) }));
    }
    if stdout().is_terminal() {
        all = terminal::without_questions(&all);
    }
    output.bytes(&all)
}

/// Attaches to the console of the domain with this name, from its oldest output on.
pub(crate) fn attach(client: &Arc<Client>, name: &str, linger: Duration) -> Result<(), Problem> {
    // Whether there is anything to attach to, before the terminal changes.
    read(client, name, None, 0).map_err(|problem| explain(client, name, problem))?;
    let interactive = stdin().is_terminal();
    if interactive {
        note(&format!(
            "xenman: attached to the console of '{}'; Ctrl-] leaves",
            harmless(name)
        ));
    }
    let raw = RawMode::enter(interactive)?;
    let (ended, _) = converse(client, name, interactive, linger);
    drop(raw);
    match ended? {
        End::Left => note(""),
        End::Gone => note(&format!("\nxenman: domain '{}' is gone", harmless(name))),
        End::Silent => {}
    }
    Ok(())
}

/// Attaches to a console for somebody who wants the terminal's keys back afterwards.
pub(crate) fn visit(client: &Arc<Client>, name: &str, stop: &Asked) -> Result<(), Problem> {
    read(client, name, None, 0)?;
    let shown = harmless(name);
    note(&format!(
        "xenman: the console of '{shown}'; Ctrl-] goes back"
    ));
    let raw = RawMode::enter(true)?;
    let (ended, keys) = converse(client, name, true, LINGER);
    let why = match &ended {
        Ok(End::Left | End::Silent) => None,
        Ok(End::Gone) => Some(format!("domain '{shown}' is gone")),
        Err(problem) => Some(problem.message.clone()),
    };
    if let Some(why) = why {
        note(&format!("\r\nxenman: {why}; press a key to go back\r"));
        keys.close();
        // The thread that reads keys would take the next one from whoever reads them now.
        while !keys.reader_has_ended() && !stop.to_end() {
            thread::sleep(LOOK);
        }
    }
    drop(raw);
    ended.map(drop)
}

/// Talks with a console until it is over.
fn converse(
    client: &Arc<Client>,
    name: &str,
    interactive: bool,
    linger: Duration,
) -> (Result<End, Problem>, Keys) {
    let (tell, news) = mpsc::sync_channel(8);
    let keys = Keys::start(client, name, interactive, &tell);
    output::start(client, name, tell);
    (follow(&news, &keys, linger), keys)
}

/// How it ended.
enum End {
    Left,
    Gone,
    Silent,
}

/// Writes output until it is over.
fn follow(news: &Receiver<News>, keys: &Keys, linger: Duration) -> Result<End, Problem> {
    let stop = signals::watch(&[SIGTERM, SIGHUP])?;
    let plain = Output { json: false };
    let mut input_ended = false;
    let mut spoken = Instant::now();
    loop {
        match news.recv_timeout(LOOK) {
            Ok(News::Output { bytes, lost }) => {
                spoken = Instant::now();
                if lost > 0 {
                    plain.bytes(format!("\r\n[{lost} bytes of output are gone]\r\n").as_bytes())?;
                }
                plain.bytes(&bytes)?;
            }
            Ok(News::Leave) => return Ok(End::Left),
            Ok(News::InputEnded) => (input_ended, spoken) = (true, Instant::now()),
            Ok(News::Gone) => return Ok(End::Gone),
            Ok(News::Failed(problem)) => return Err(problem),
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Problem::new("the console's threads ended"));
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !keys.all_typed() {
            spoken = Instant::now();
        }
        if stop.to_end() || keys.leave() {
            return Ok(End::Left);
        }
        if input_ended && spoken.elapsed() >= linger {
            return Ok(End::Silent);
        }
    }
}

/// Whether the domain is just not there, as between the two lives of a reboot.
fn is_away(problem: &Problem) -> bool {
    problem.is(ErrorCode::UNKNOWN_DOMAIN) || problem.is(ErrorCode::WRONG_STATE)
}
