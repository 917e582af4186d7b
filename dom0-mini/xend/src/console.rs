//! The PV console of one domain: the backend of Xen's public `io/console.h`.
//!
//! Output goes from the guest's ring into a [`Scrollback`]; operator input waits in a bounded backlog until the guest
//! takes it. The scrollback belongs to who owns the [`Console`] and may outlive the domain: take it back with
//! [`Console::into_scrollback`] and hand it to the next domain of that name, or drop it.
//!
//! Save and restore need nothing from here. What is in flight is in the ring, which is guest memory, with its indices;
//! input that was typed and not yet taken is dropped with the console, as unplugging a terminal would.

use crate::ring::{ByteRing, RingBroken, SharedPage};
use crate::scrollback::Scrollback;
use alloc::collections::VecDeque;

const IN: ByteRing = ByteRing::new(0, 1024, 3072, 3076);
const OUT: ByteRing = ByteRing::new(1024, 2048, 3080, 3084);

/// Scrollback kept per domain unless configured otherwise, in bytes.
pub const SCROLLBACK_BYTES: usize = 64 * 1024;

/// Operator input that may wait for the guest, in bytes.
pub const BACKLOG_BYTES: usize = 4096;

/// The backend of one domain's console.
#[derive(Debug)]
pub struct Console {
    scrollback: Scrollback,
    backlog: VecDeque<u8>,
    faults: u32,
    broken: Option<RingBroken>,
}

/// What one look at the ring did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Serviced {
    /// Bytes of output moved to the scrollback.
    pub output: usize,
    /// Bytes of input moved to the guest.
    pub input: usize,
    /// Whether the guest's event channel must be notified.
    pub notify: bool,
}

impl Console {
    /// A console that continues in `scrollback`.
    pub const fn new(scrollback: Scrollback) -> Self {
        Self {
            scrollback,
            backlog: VecDeque::new(),
            faults: 0,
            broken: None,
        }
    }

    /// The output so far.
    pub const fn scrollback(&self) -> &Scrollback {
        &self.scrollback
    }

    /// Ends the console and returns the output so far.
    pub fn into_scrollback(self) -> Scrollback {
        self.scrollback
    }

    /// How often the guest broke its ring.
    pub const fn faults(&self) -> u32 {
        self.faults
    }

    /// Why the ring is not served at the moment, if it is not.
    pub const fn broken(&self) -> Option<RingBroken> {
        self.broken
    }

    /// Input not yet taken by the guest, in bytes.
    pub fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// Queues operator input; returns how many bytes were taken. Call [`Console::service`] afterwards.
    pub fn queue_input(&mut self, bytes: &[u8]) -> usize {
        let room = BACKLOG_BYTES.saturating_sub(self.backlog.len());
        let count = bytes.len().min(room);
        self.backlog.extend(bytes.iter().take(count));
        count
    }

    /// Moves what can be moved: at most one ring full in each direction.
    ///
    /// A ring with impossible indices is left alone and counted once until its indices make sense again.
    pub fn service(&mut self, page: &dyn SharedPage) -> Serviced {
        match self.exchange(page) {
            Ok(serviced) => {
                self.broken = None;
                serviced
            }
            Err(fault) => {
                if self.broken.replace(fault).is_none() {
                    self.faults = self.faults.saturating_add(1);
                }
                Serviced::default()
            }
        }
    }

    /// Looks at both rings before it moves anything, so that a broken one does not hide what the other did.
    fn exchange(&mut self, page: &dyn SharedPage) -> Result<Serviced, RingBroken> {
        IN.used(page)?;
        let output = self.drain(page)?;
        let input = self.feed(page)?;
        // A guest that waits for room has filled the ring; if it did so against a stale consumer index, one of the two
        // portions we took was at least half a ring. Below that nobody waits, and boot messages cost no interrupts.
        let freed_enough = output >= OUT.size() as usize / 2;
        Ok(Serviced {
            output,
            input,
            notify: input > 0 || freed_enough,
        })
    }

    fn drain(&mut self, page: &dyn SharedPage) -> Result<usize, RingBroken> {
        let mut buffer = [0; OUT.size() as usize];
        let count = OUT.take(page, &mut buffer)?;
        self.scrollback
            .push(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn feed(&mut self, page: &dyn SharedPage) -> Result<usize, RingBroken> {
        if self.backlog.is_empty() {
            return Ok(0);
        }
        let count = IN.put(page, self.backlog.make_contiguous())?;
        self.backlog.drain(..count.min(self.backlog.len()));
        Ok(count)
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new(Scrollback::new(SCROLLBACK_BYTES))
    }
}

#[cfg(test)]
mod tests {
    use super::{BACKLOG_BYTES, Console, IN, OUT};
    use crate::ring::{FakePage, SharedPage};
    use alloc::vec;

    #[test]
    fn output_reaches_the_scrollback_in_order() {
        let (page, mut console) = (FakePage::new(), Console::default());
        OUT.put(&page, b"Booting Linux\n").unwrap();
        assert_eq!(console.service(&page).output, 14);
        OUT.put(&page, b"done\n").unwrap();
        console.service(&page);
        assert_eq!(
            console.scrollback().read(0, 100).bytes,
            b"Booting Linux\ndone\n"
        );
        assert_eq!(OUT.used(&page), Ok(0));
    }

    #[test]
    fn input_reaches_the_guest_and_notifies_it() {
        let (page, mut console) = (FakePage::new(), Console::default());
        assert_eq!(console.queue_input(b"ls\n"), 3);
        let serviced = console.service(&page);
        assert_eq!((serviced.input, serviced.notify), (3, true));
        let mut typed = [0; 3];
        IN.take(&page, &mut typed).unwrap();
        assert_eq!(&typed, b"ls\n");
        assert_eq!(console.backlog(), 0);
    }

    #[test]
    fn more_input_than_the_ring_holds_waits_and_arrives_later() {
        let (page, mut console) = (FakePage::new(), Console::default());
        let typed = vec![b'x'; 1500];
        assert_eq!(console.queue_input(&typed), 1500);
        assert_eq!(console.service(&page).input, 1024);
        assert!(!console.service(&page).notify, "nothing moved");
        IN.take(&page, &mut [0; 1024]).unwrap();
        assert_eq!(console.service(&page).input, 476);
    }

    #[test]
    fn the_backlog_is_bounded() {
        let mut console = Console::default();
        assert_eq!(
            console.queue_input(&vec![b'a'; BACKLOG_BYTES + 1]),
            BACKLOG_BYTES
        );
        assert_eq!(console.queue_input(b"b"), 0);
    }

    #[test]
    fn a_full_output_ring_is_a_reason_to_notify_and_a_short_line_is_not() {
        let (page, mut console) = (FakePage::new(), Console::default());
        OUT.put(&page, &[b'x'; 2048]).unwrap();
        assert!(console.service(&page).notify);
        OUT.put(&page, b"short").unwrap();
        assert!(!console.service(&page).notify);
    }

    #[test]
    fn broken_indices_are_counted_once_and_survived() {
        let (page, mut console) = (FakePage::new(), Console::default());
        page.store_u32(3084, 5000);
        console.service(&page);
        console.service(&page);
        assert_eq!(console.faults(), 1);
        assert!(console.broken().is_some());
        page.store_u32(3080, 4999);
        assert_eq!(console.service(&page).output, 1);
        assert!(console.broken().is_none());
        page.store_u32(3076, 3000);
        console.queue_input(b"x");
        console.service(&page);
        assert_eq!((console.faults(), console.backlog()), (2, 1));
    }

    #[test]
    fn the_scrollback_outlives_the_console() {
        let (page, mut console) = (FakePage::new(), Console::default());
        OUT.put(&page, b"last words").unwrap();
        console.service(&page);
        let mut next = Console::new(console.into_scrollback());
        OUT.put(&page, b", first words").unwrap();
        next.service(&page);
        assert_eq!(
            next.scrollback().read(0, 100).bytes,
            b"last words, first words"
        );
    }
}
