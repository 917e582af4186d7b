//! The boundary between policy and hardware.
//!
//! An architecture turns hardware state into plain values ([`Exit`], [`HostInterrupt`]); common code decides; the
//! architecture applies the answer ([`Reply`], [`Platform::raise`]). Common code knows no interrupt controller, no
//! page-table format, no register. What common code need not see (register save, the guest's own timer while it
//! runs, interrupt-controller accesses) an architecture may finish by itself inside [`Vcpu::run`].
//!
//! # Memory
//! All RAM is mapped for the hypervisor. [`Host::words`], [`Host::read`], [`Host::write`] and [`Host::clear`] are safe
//! because of one invariant that [`crate::memory::frames`] keeps: they are called only for frames whose metadata
//! says RAM of a domain, page table or shared page, never for a frame that holds a [`Host::Shared`] value or that is
//! free. Words are atomics, so a guest or a table walker that uses the same frame at the same time is no data race.
//!
//! # vCPUs
//! A [`Vcpu`] is looked at by one CPU at a time: the one that runs it, or, while it is paused, the one that serves a
//! control call. `load` and `unload` bracket a stay on a CPU; `run` is called in between, any number of times.

use core::ops::Deref;
use core::sync::atomic::AtomicU64;

use hv_abi::control::vcpu::StartContext;
use hv_abi::record::{Header, Kind};
use hv_abi::xen::shared_info::SharedInfoLayout;
use hv_abi::{DomId, Errno};

use crate::memory::frames::FrameRun;

mod exit;
#[cfg(any(test, feature = "fake"))]
pub mod fake;

pub use exit::{Exit, Power, Refusal, RefusalKind, Reply, cpu_on};

/// Machine frame number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mfn(pub u64);

/// Guest frame number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Gfn(pub u64);

/// Guest-physical address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Gpa(pub u64);

impl Gpa {
    /// The frame it is in.
    #[must_use]
    pub const fn gfn(self) -> Gfn {
        Gfn(self.0 >> hv_abi::FRAME_SHIFT)
    }

    /// Its offset in the frame.
    #[must_use]
    pub const fn offset(self) -> usize {
        (self.0 & (hv_abi::FRAME_SIZE as u64 - 1)) as usize
    }
}

/// 512 words: a frame as the hypervisor touches it.
pub type Words = [AtomicU64; 512];

/// A CPU architecture, or one of its virtualization extensions.
pub trait Arch: Sized + Send + Sync + 'static {
    /// Registers of a guest CPU.
    type Vcpu: Vcpu<Self>;
    /// What a domain has of hardware beyond CPUs and RAM: the interrupt controller.
    type Platform: Platform<Self>;
    /// Stage-2 entries.
    type Pte: Pte;
    /// The machine under us.
    type Host: Host;
    /// Where guests find things in `shared_info`.
    const SHARED_INFO: SharedInfoLayout;
    /// Feature bits of `xen_version`'s submap 0 that this architecture adds for every guest.
    const FEATURES: u32;
    /// Bytes of what [`Vcpu::initialise`] takes. `None`: vCPUs are started and stopped otherwise ([`Exit::Power`]) only.
    const VCPU_CONTEXT: Option<usize>;
    /// The capability string of `xen_version`.
    const CAPABILITIES: &'static str;
    /// Where a guest that knows nothing of the hypervisor finds its serial line and its clock. `None`: there are no such
    /// guests.
    const DEVICES: Option<DevicePlaces>;
}

/// See [`Arch::DEVICES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DevicePlaces {
    /// [`crate::device::pl011`].
    pub uart: DevicePlace,
    /// [`crate::device::pl031`].
    pub rtc: DevicePlace,
}

/// A device's registers, one page, and its interrupt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DevicePlace {
    /// The page.
    pub gfn: Gfn,
    /// As the guest's platform numbers it.
    pub interrupt: u32,
}

/// A value in frames, shared between CPUs.
pub type Shared<A, T> = <<A as Arch>::Host as Host>::Shared<T>;

/// A guest CPU, driven as a coroutine: answer its last exit, receive its next one.
pub trait Vcpu<A: Arch>: Send {
    /// A CPU that is switched off, number `index` of its domain.
    ///
    /// # Errors
    /// `EINVAL` if the architecture has no such number.
    fn new(index: u32, platform: &A::Platform) -> Result<Self, Errno>
    where
        Self: Sized;

    /// Sets the state in which a boot loader (or the guest's own power-on call) leaves a CPU. What was asked of it while it
    /// was off is forgotten, where the architecture says so.
    fn start(&mut self, platform: &A::Platform, context: StartContext);

    /// Puts its state on this CPU. `stage2` is the domain's root table; `vmid` its tag.
    fn load(&mut self, host: &A::Host, platform: &A::Platform, stage2: Mfn, vmid: u16);

    /// Takes its state off this CPU.
    fn unload(&mut self, host: &A::Host, platform: &A::Platform);

    /// Runs it until it needs an answer, or something else wants this CPU. Called with host interrupts masked; they are
    /// taken as [`Exit::Interrupted`].
    fn run(&mut self, host: &A::Host, platform: &A::Platform, reply: Reply) -> Exit;

    /// Applies an answer without running, so that its registers are complete (it is about to leave the CPU, perhaps to
    /// be saved). [`Reply::Resume`] is due at its next `run`.
    fn answer(&mut self, reply: Reply);

    /// Where a virtual address of its current kernel address space is. Only while loaded.
    fn translate(&self, host: &A::Host, va: u64, access: Access) -> Option<Gpa>;

    /// Whether an interrupt would be taken if it ran now (its own masks aside: what wakes a CPU that waits).
    fn has_interrupt(&self, platform: &A::Platform) -> bool;

    /// When its own timers would next make one pending, in host nanoseconds. Only while not loaded.
    fn deadline_ns(&self, host: &A::Host) -> Option<u64>;

    /// Sets the state that the guest's own call describes: [`Arch::VCPU_CONTEXT`] bytes in the layout of its architecture,
    /// hostile. It is switched off.
    ///
    /// # Errors
    /// `ENOSYS` where vCPUs are started otherwise, `EINVAL` for a state that there is not.
    fn initialise(&mut self, context: &[u8]) -> Result<(), Errno> {
        let _ = context;
        Err(Errno::ENOSYS)
    }

    /// Its program counter, for reports.
    fn pc(&self) -> u64;

    /// What it counted since it was last asked.
    fn take_counts(&mut self) -> Taken;

    /// Tells what its registers are and what led there, line by line, for the log when it cannot go on. Only while not
    /// loaded.
    fn describe(&self, line: &mut dyn FnMut(core::fmt::Arguments<'_>)) {
        let _ = line;
    }

    /// Writes its registers' records, the `nth` in turn, into `out` (a header, then the body); `None` past the last.
    /// Only while not loaded.
    fn save(&self, platform: &A::Platform, nth: usize, out: &mut dyn RecordSink) -> Option<()>;

    /// Loads one record back. The body is hostile.
    ///
    /// # Errors
    /// `EINVAL` for a state no guest could reach, `EOPNOTSUPP` for a kind or version that is not known.
    fn restore(
        &mut self,
        platform: &A::Platform,
        header: &Header,
        body: &[u8],
    ) -> Result<(), Errno>;
}

/// See [`Vcpu::take_counts`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Taken {
    /// Exits that it dealt with by itself.
    pub exits: u32,
    /// Interrupts that the guest took.
    pub interrupts: u32,
}

/// The interrupt controller of a domain. Shared by its vCPUs: has its own lock, taken after the domain's.
pub trait Platform<A: Arch>: Send + Sync {
    /// A controller with all interrupts off.
    ///
    /// # Errors
    /// `EINVAL` if it cannot serve that many vCPUs.
    fn new(host: &A::Host, config: &PlatformConfig) -> Result<Self, Errno>
    where
        Self: Sized;

    /// Registers of the machine that the guest reaches without an exit, if there are any: mapped when the domain is
    /// made. They are no frames of the pool, and what the guest does there concerns its own interrupts only.
    fn direct_registers(&self) -> Option<DirectRegisters> {
        None
    }

    /// Makes an interrupt pending. Returns the vCPU to wake, if one has to look.
    fn raise(&self, interrupt: GuestInterrupt) -> Option<u32>;

    /// Sets the vector by which upcalls come, of one vCPU or of all that have none of their own.
    ///
    /// # Errors
    /// `ENOSYS` where upcalls have a fixed interrupt, `EINVAL` for a vector that is no interrupt's, `ENOENT`: no such vCPU.
    fn set_upcall(&self, vcpu: Option<u32>, vector: u8) -> Result<(), Errno> {
        let _ = (vcpu, vector);
        Err(Errno::ENOSYS)
    }

    /// How a guest makes system time of its counter, where it is told by its `vcpu_info`.
    fn clock_scale(&self, host: &A::Host) -> Option<ClockScale> {
        let _ = host;
        None
    }

    /// Sets the guest's counter so that it reads `ticks` now (restore), or 0 (a new domain).
    fn set_guest_counter(&self, host: &A::Host, ticks: u64);

    /// What the guest's counter reads now.
    fn guest_counter(&self, host: &A::Host) -> u64;

    /// Facts of this host that a saved guest depends on.
    fn requirements(&self, host: &A::Host) -> hv_abi::record::Platform;

    /// Writes its records, the `nth` in turn; `None` past the last.
    fn save(&self, nth: usize, out: &mut dyn RecordSink) -> Option<()>;

    /// Loads one record back. The body is hostile.
    ///
    /// # Errors
    /// As [`Vcpu::restore`].
    fn restore(&self, header: &Header, body: &[u8]) -> Result<(), Errno>;
}

/// System time of a counter: `((ticks << shift) * multiplier) >> 32` nanoseconds; a negative shift is one to the right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockScale {
    /// The multiplier.
    pub multiplier: u32,
    /// The shift.
    pub shift: i8,
}

/// See [`Platform::direct_registers`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirectRegisters {
    /// Where the guest finds them.
    pub gfn: Gfn,
    /// Where they are.
    pub mfn: Mfn,
    /// Frames.
    pub count: u64,
}

/// How a domain's platform is laid out.
#[derive(Clone, Copy, Debug)]
pub struct PlatformConfig {
    /// vCPUs.
    pub vcpus: u32,
    /// Domain-0: its interrupt controller appears at the machine's addresses, and device interrupts are the machine's.
    pub hardware: bool,
    /// Whether the guest is told about the hypervisor.
    pub hypervisor_visible: bool,
    /// The number that the guest knows its domain by.
    pub guest_id: DomId,
}

/// Takes the bytes of records.
pub trait RecordSink {
    /// Appends a record with this kind, vCPU and body, version 1. `false` if it did not fit; nothing was written then.
    fn put(&mut self, kind: Kind, vcpu: u32, body: &[u8]) -> bool;
}

/// An interrupt for a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestInterrupt {
    /// Event channels are pending for this vCPU.
    Upcall {
        /// Which vCPU.
        vcpu: u32,
    },
    /// A device's interrupt comes.
    Line {
        /// Its number, as the machine or the guest's platform numbers it.
        number: u32,
        /// A machine interrupt that stays active until the guest has ended it.
        from_machine: bool,
    },
    /// An emulated device sets its interrupt line. Whether the level or the edge counts is as configured. Nobody is woken
    /// for a line that falls.
    Input {
        /// Its number, as the guest's platform numbers it.
        number: u32,
        /// What the line is from now on.
        high: bool,
    },
}

/// Kind of access to guest memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
}

/// What interrupted this CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HostInterrupt {
    /// The deadline passed.
    Timer,
    /// Another CPU wants attention.
    Kick,
    /// A device's interrupt. It stays active until its owner has ended it.
    Device(u32),
}

/// The machine under us, from this CPU.
pub trait Host: Sync + 'static {
    /// A value that lives in frames of its own and may be shared between CPUs.
    type Shared<T: Send + Sync + 'static>: Deref<Target = T> + Clone + Send + Sync;

    /// Moves a value into frames. The run must be large enough ([`crate::memory::frames::run_order_for`]).
    fn share<T: Send + Sync + 'static>(&self, run: FrameRun, value: T) -> Self::Shared<T>;

    /// Ends a shared value and gives its frames back.
    ///
    /// # Errors
    /// The value itself, if it is still shared.
    fn unshare<T: Send + Sync + 'static>(
        &self,
        shared: Self::Shared<T>,
    ) -> Result<FrameRun, Self::Shared<T>>;

    /// Nanoseconds since the hypervisor started.
    fn now_ns(&self) -> u64;
    /// Counter ticks per second.
    fn counter_hz(&self) -> u64;
    /// This CPU's number.
    fn cpu(&self) -> usize;
    /// Asks for [`HostInterrupt::Timer`] at that time on this CPU; `None`: not at all.
    fn set_deadline(&self, at_ns: Option<u64>);
    /// Makes another CPU come back from its guest with [`HostInterrupt::Kick`].
    fn kick(&self, cpu: usize);
    /// Waits until an interrupt is pending on this CPU.
    fn idle(&self);
    /// Acknowledges one pending interrupt of this CPU. `None`: there is none (any more).
    fn take_interrupt(&self) -> Option<HostInterrupt>;
    /// Lets a device interrupt reach us, or not. Numbers that are not a device's are ignored.
    fn enable_device_interrupt(&self, number: u32, enabled: bool);

    /// An interrupt that a device signals by writing a message. `None`: there are none (any more).
    fn message_interrupt(&self) -> Option<MessageInterrupt> {
        None
    }

    /// A frame as words. See the module's invariant.
    fn words(&self, frame: Mfn) -> &Words;
    /// Copies out of a frame. `offset + out.len()` is within it.
    fn read(&self, frame: Mfn, offset: usize, out: &mut [u8]);
    /// Copies into a frame. `offset + bytes.len()` is within it.
    fn write(&self, frame: Mfn, offset: usize, bytes: &[u8]);
    /// Copies from one frame to another.
    fn copy(&self, from: (Mfn, usize), to: (Mfn, usize), length: usize);
    /// Fills a frame with zero.
    fn clear(&self, frame: Mfn);
    /// Makes what was written to `count` frames visible to a guest that starts with caches off, and to instruction fetch.
    fn publish(&self, frame: Mfn, count: u64);
    /// [`Host::clear`] and [`Host::publish`] of one frame: most of what a large domain's creation costs.
    fn clear_and_publish(&self, frame: Mfn) {
        self.clear(frame);
        self.publish(frame, 1);
    }
    /// Makes stage-2 changes that took rights away complete on all CPUs before it returns.
    fn invalidate_stage2(&self, root: Mfn, vmid: u16, range: Option<(Gfn, u64)>);
    /// Makes entries that were written to a stage-2 table visible to the walker.
    fn publish_stage2(&self);

    /// Writes to the debug console.
    fn console(&self, text: &[u8]);
    /// Ends or restarts the machine. Does not return.
    fn power(&self, action: MachinePower) -> !;
    /// Facts for `info`: CPU identification, guest-physical address bits, interrupt controller version.
    fn facts(&self) -> HostFacts;
}

/// See [`Host::message_interrupt`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageInterrupt {
    /// The number that [`HostInterrupt::Device`] has.
    pub number: u32,
    /// Where the device writes.
    pub address: u64,
    /// What it writes.
    pub data: u32,
}

/// See [`Host::facts`].
#[derive(Clone, Copy, Default, Debug)]
pub struct HostFacts {
    /// CPU identification register.
    pub cpu_id: u64,
    /// Guest-physical address bits.
    pub ipa_bits: u32,
    /// Interrupt controller version (2 or 3), 0 where it has none.
    pub interrupt_controller_version: u32,
    /// What runs guests where the architecture has several ways: one of [`hv_abi::control::host::extension`].
    pub extension: u32,
    /// CPUs that run.
    pub cpus: u32,
}

/// How the machine ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MachinePower {
    /// Off.
    Off,
    /// Restart.
    Reset,
}

/// A stage-2 entry: pure encoding.
pub trait Pte: Copy {
    /// Levels of a full walk, 2 to 4; the root is level `LEVELS - 1`, 4 KiB pages are level 0.
    const LEVELS: u32;
    /// Frames of the root table: concatenated tables at the root level.
    const ROOT_FRAMES: u64;
    /// The entry that maps nothing.
    const EMPTY: Self;
    /// An entry from its word.
    fn from_word(word: u64) -> Self;
    /// Its word.
    fn to_word(self) -> u64;
    /// An entry that points to a table.
    fn table(table: Mfn) -> Self;
    /// An entry that maps a page (level 0) or a block.
    fn leaf(frame: Mfn, level: u32, attributes: Attributes) -> Self;
    /// What the entry is at that level.
    fn decode(self, level: u32) -> PteKind;
}

/// A decoded stage-2 entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PteKind {
    /// Maps nothing.
    Empty,
    /// Points to a table.
    Table(Mfn),
    /// Maps frames.
    Leaf(Mfn, Attributes),
}

/// Rights and memory type of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// The guest may write.
    pub write: bool,
    /// The guest may execute.
    pub execute: bool,
    /// Device registers instead of RAM.
    pub device: bool,
}

impl Attributes {
    /// RAM of a guest.
    pub const RAM: Self = Self {
        write: true,
        execute: true,
        device: false,
    };
    /// A shared page: no execution.
    pub const SHARED: Self = Self {
        write: true,
        execute: false,
        device: false,
    };
    /// A page the guest may only read.
    pub const READ_ONLY: Self = Self {
        write: false,
        execute: false,
        device: false,
    };
    /// Device registers.
    pub const DEVICE: Self = Self {
        write: true,
        execute: false,
        device: true,
    };
}
