//! What the tests share: a booted machine, an operator with files to show it, and small guests.
//!
//! Tests run one after the other and leave nothing behind: each ends with the free memory it began with.

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use harness::board::Board as Kind;
use harness::bundle::Bundle;
use harness::host::Host;
use harness::images::Images;
use harness::machine::Machine;
use harness::operator::{Operator, Trouble, wait};

const MACHINE_LIMIT: Duration = Duration::from_secs(3600);
/// For what takes a moment, on a machine that is busy with other things too.
pub(crate) const SOON: Duration = Duration::from_secs(60);
/// From a Linux kernel's first instruction to a shell.
pub(crate) const LINUX_BOOT: Duration = Duration::from_secs(240);
/// Memory of a small guest.
pub(crate) const SMALL_MIB: u32 = 8;

/// A machine that is booted once for all tests that share it.
pub(crate) struct Board {
    kind: Kind,
    content: Content,
    host: Mutex<Option<Host>>,
    shape: fn(&mut Machine),
}

/// What is in the boot bundle beside Domain-0. Small guests are where kernels come from there only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Debian,
    SmallGuests,
}

/// The default machine.
pub(crate) static QEMU_VIRT: Board = Board::new(|_| {});

/// Boots the default machine, if a test before has not, and runs a test on it.
pub(crate) fn on_machine(test: impl FnOnce(&Stage<'_>) -> Result<(), Trouble>) {
    QEMU_VIRT.run(test);
}

impl Board {
    /// The default machine with something changed.
    pub(crate) const fn new(shape: fn(&mut Machine)) -> Self {
        Self::of(Kind::QemuVirt, shape)
    }

    /// A machine of that kind with something changed.
    pub(crate) const fn of(kind: Kind, shape: fn(&mut Machine)) -> Self {
        Self::with(Content::Debian, kind, shape)
    }

    /// A machine that starts sooner: there is no Linux in its boot bundle.
    pub(crate) const fn without_linux(kind: Kind, shape: fn(&mut Machine)) -> Self {
        Self::with(Content::SmallGuests, kind, shape)
    }

    const fn with(content: Content, kind: Kind, shape: fn(&mut Machine)) -> Self {
        Self {
            kind,
            content,
            host: Mutex::new(None),
            shape,
        }
    }

    /// Boots the machine, if a test before has not, and runs a test on it.
    ///
    /// A test that fails may leave anything behind, so the machine goes with it and the next test gets a new one. The
    /// machine is also what `cargo test` leaves for the operating system to end: it dies with this program.
    pub(crate) fn run(&self, test: impl FnOnce(&Stage<'_>) -> Result<(), Trouble>) {
        let mut machine = self.host.lock().unwrap_or_else(PoisonError::into_inner);
        let host = machine.take().unwrap_or_else(|| self.boot());
        let stage = Stage::new(self.kind, &host);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            test(&stage)?;
            stage.clean()
        }));
        match outcome {
            Ok(Ok(())) => *machine = Some(host),
            Ok(Err(trouble)) => {
                host.emulator().keep_log("suite");
                panic!("{trouble}")
            }
            Err(panic) => {
                host.emulator().keep_log("suite");
                resume_unwind(panic)
            }
        }
    }

    fn boot(&self) -> Host {
        let images = Images::of_workspace();
        let folder = tempfile::tempdir().expect("there is room for a bundle");
        let archive = folder.path().join("bundle.cpio");
        let bundle = self.bundle(&images);
        bundle.write(&archive).expect("the bundle is written");
        let mut machine = self.kind.machine(&images, archive);
        (self.shape)(&mut machine);
        Host::boot(&machine, MACHINE_LIMIT).unwrap_or_else(|error| panic!("{error}"))
    }

    fn bundle(&self, images: &Images) -> Bundle {
        let mut bundle = Bundle::new(&self.kind.dom0(images)).expect("Domain-0 was built");
        if self.content == Content::Debian {
            for name in [self.kind.kernel(), "initrd.gz"] {
                let file = self.kind.debian(images).join(name);
                bundle.add(name, &file).expect("Debian was fetched");
            }
        }
        if self.kind.takes_guests_from_its_bundle() {
            let guests = fs::read_dir(images.guests_for(self.kind.architecture()));
            for guest in guests.expect("the guests were built").flatten() {
                let name = guest.file_name();
                let added = bundle.add(&name.to_string_lossy(), &guest.path());
                added.expect("there is room for a guest");
            }
        }
        bundle
    }
}

/// A machine, as a test finds it.
pub(crate) struct Stage<'a> {
    pub(crate) kind: Kind,
    pub(crate) operator: Operator<'a>,
    pub(crate) host: &'a Host,
    pub(crate) free_kib: u64,
}

impl<'a> Stage<'a> {
    fn new(kind: Kind, host: &'a Host) -> Self {
        let operator = Operator::new(host);
        let free_kib = operator.info("free_kib").expect("xend answers");
        Self {
            kind,
            operator,
            host,
            free_kib,
        }
    }

    /// Nothing that the test made is there any more.
    pub(crate) fn clean(&self) -> Result<(), Trouble> {
        self.operator.free_again(self.free_kib, SOON)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.host.folder().join(name)
    }

    /// Writes a configuration and returns its path.
    pub(crate) fn configuration(&self, name: &str, kernel: &Path, more: &str) -> String {
        self.configuration_in(&format!("{name}.cfg"), name, kernel, more)
    }

    /// The same in a file of this name.
    pub(crate) fn configuration_in(
        &self,
        file: &str,
        name: &str,
        kernel: &Path,
        more: &str,
    ) -> String {
        let file = self.file(file);
        let text = format!(
            "name = \"{name}\"\nkernel = \"{}\"\n{more}\n",
            kernel.display()
        );
        fs::write(&file, text).expect("the configuration is written");
        file.to_string_lossy().into_owned()
    }

    /// The kernel of one of our own guests, as a configuration names it.
    pub(crate) fn guest(&self, guest: &str) -> PathBuf {
        match self.kind.takes_guests_from_its_bundle() {
            true => format!("boot:{guest}").into(),
            false => self.kind.guest(&Images::of_workspace(), guest),
        }
    }

    /// Writes the configuration of a domain with one of our own guests.
    pub(crate) fn small(&self, name: &str, guest: &str, more: &str) -> String {
        let kernel = self.guest(guest);
        self.configuration(name, &kernel, &format!("memory = {SMALL_MIB}\n{more}"))
    }

    pub(crate) fn create_small(&self, name: &str, guest: &str, more: &str) -> Result<(), Trouble> {
        let file = self.small(name, guest, more);
        self.operator.run(&["create", &file]).map(drop)
    }

    /// Creates a domain of one of our own guests; its number.
    pub(crate) fn create(
        &self,
        name: &str,
        guest: &str,
        memory_mib: u32,
        more: &str,
    ) -> Result<u64, Trouble> {
        let kernel = self.guest(guest);
        let more = format!("memory = {memory_mib}\n{more}");
        let file = self.configuration(name, &kernel, &more);
        let created = self.operator.json(&["create", &file])?;
        created["domid"]
            .as_u64()
            .ok_or_else(|| Trouble(format!("no domid in {created}")))
    }

    pub(crate) fn do_to(&self, verb: &str, name: &str) -> Result<(), Trouble> {
        self.operator.run(&[verb, name]).map(drop)
    }

    /// The number of the last whole `tick N` on a ticker's console.
    pub(crate) fn ticks(&self, name: &str) -> Result<u64, Trouble> {
        let said = self.operator.said(name)?;
        Ok(last_tick(&said).unwrap_or(0))
    }

    pub(crate) fn ticks_go_on(&self, name: &str) -> Result<(), Trouble> {
        let before = self.ticks(name)?;
        wait(
            SOON,
            &format!("{name} does not tick after {before}"),
            || Ok(self.ticks(name)? > before + 2),
        )
    }

    pub(crate) fn is(&self, name: &str, states: &[&str]) -> Result<(), Trouble> {
        let what = format!("{name} is not {}", states.join(" or "));
        wait(SOON, &what, || {
            let state = self.operator.state(name)?;
            Ok(state.is_some_and(|state| states.contains(&state.as_str())))
        })
    }
}

/// The number of the last whole `tick N`.
pub(crate) fn last_tick(said: &str) -> Option<u64> {
    let whole = said.rsplit_once('\n')?.0;
    let lines = whole.lines().rev();
    lines
        .filter_map(|line| line.trim_end().strip_prefix("tick ")?.parse().ok())
        .next()
}

/// Panics unless all of the words are in the text.
pub(crate) fn contains(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[test]
fn the_last_whole_tick_counts() {
    assert_eq!(last_tick("tick 8\r\ntick 9\r\nti"), Some(9));
    assert_eq!(last_tick("tick 1"), None);
}
