//! What happened to domains: the last events, under cursors that never move backwards.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use mgmt_proto::messages::{Event, EventKind, Events};

/// Events kept.
const KEPT: usize = 256;

/// Events in one answer.
const AT_ONCE: usize = 64;

/// The last events.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    events: VecDeque<Event>,
    end: u64,
}

impl EventLog {
    /// Notes an event.
    pub(crate) fn note(
        &mut self,
        time_ns: u64,
        domid: u16,
        name: &str,
        kind: EventKind,
        detail: Option<String>,
    ) {
        if self.events.len() >= KEPT {
            self.events.pop_front();
        }
        self.events.push_back(Event {
            time_ns,
            domid,
            name: name.to_string(),
            kind,
            detail,
        });
        self.end = self.end.saturating_add(1);
    }

    /// The cursor behind the newest event.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The events from `cursor` on.
    pub(crate) fn read(&self, cursor: u64) -> Events {
        let start = self.end.saturating_sub(self.events.len() as u64);
        let from = cursor.clamp(start, self.end);
        let skip = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
        let events: alloc::vec::Vec<Event> = self
            .events
            .iter()
            .skip(skip)
            .take(AT_ONCE)
            .cloned()
            .collect();
        Events {
            next: from.saturating_add(events.len() as u64),
            lost: from.saturating_sub(cursor),
            events,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::EventLog;
    use mgmt_proto::messages::EventKind;

    #[test]
    fn a_slow_reader_is_told_what_it_lost() {
        let mut log = EventLog::default();
        for time in 0..300 {
            log.note(time, 1, "guest", EventKind::CREATED, None);
        }
        let first = log.read(0);
        assert_eq!((first.lost, first.events.len(), first.next), (44, 64, 108));
        assert_eq!(first.events[0].time_ns, 44);
        let last = log.read(299);
        assert_eq!((last.lost, last.events.len(), last.next), (0, 1, 300));
        assert!(log.read(300).events.is_empty());
        assert_eq!(log.read(900).next, 300);
    }
}
