//! A scripted architecture on the host: for tests and fuzz bodies.
//!
//! Strict where the real ones are silent: an access beyond RAM or to a frame that holds a shared value, a vCPU that is
//! run while it is not loaded, a write across a frame's end: each is a panic that names the mistake.
//!
//! A test drives a vCPU through its [`Script`], which the domain's [`FakePlatform`] owns:
//! ```text
//! platform.script(0).exit(Exit::Call { number: 17, args: [0; 5] });
//! ```
//! An empty script answers [`Exit::Idle`].

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::boxed::Box;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::vec::Vec;

use hv_abi::control::vcpu::StartContext;
use hv_abi::record::{Header, Kind};
use hv_abi::xen::shared_info::SharedInfoLayout;
use hv_abi::{Errno, FRAME_SIZE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Access, Arch, Attributes, ClockScale, DevicePlace, DevicePlaces, Exit, Gfn, Gpa,
    GuestInterrupt, Host, Mfn, Platform, PlatformConfig, Pte, PteKind, RecordSink, Reply, Taken,
    Vcpu,
};

pub mod fuzz;
mod host;
pub mod machine;

pub use host::{FakeHost, FakeShared, Invalidation};

/// First machine frame of RAM: not zero, so that a frame number taken for an index is noticed.
pub const RAM_START: Mfn = Mfn(0x4_0000);
/// vCPUs a [`FakePlatform`] serves at most.
pub const VCPUS_MAX: u32 = 16;
/// Ticks per second of the fake counter.
pub const COUNTER_HZ: u64 = 1_000_000_000;
/// Kind of a [`FakeVcpu`]'s record.
pub const CPU_KIND: Kind = Kind(0x8F00);
/// Kind of a [`FakePlatform`]'s record.
pub const PLATFORM_KIND: Kind = Kind(0x0F00);

/// The fake architecture.
#[derive(Debug)]
pub struct Fake;

impl Arch for Fake {
    type Vcpu = FakeVcpu;
    type Platform = FakePlatform;
    type Pte = FakePte;
    type Host = FakeHost;
    /// Two `vcpu_info`s in the page: a third vCPU must register its own.
    const SHARED_INFO: SharedInfoLayout = SharedInfoLayout {
        vcpu_infos: 2,
        vcpu_info_size: 48,
        upcall_pending: 0,
        upcall_mask: Some(1),
        pending_sel: 8,
        time: 16,
        pending: 96,
        mask: 608,
        wall_clock: 1120,
    };
    const FEATURES: u32 = 1 << 30;
    const VCPU_CONTEXT: Option<usize> = Some(size_of::<Registers>());
    const CAPABILITIES: &'static str = "xen-3.0-fake";
    const DEVICES: Option<DevicePlaces> = Some(DevicePlaces {
        uart: DevicePlace {
            gfn: Gfn(0x800),
            interrupt: 40,
        },
        rtc: DevicePlace {
            gfn: Gfn(0x801),
            interrupt: 41,
        },
    });
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .expect("a test panicked while it held this lock")
}

// ---------------------------------------------------------------------------------------------------------- vCPU

/// What a vCPU does, and what it was answered.
#[derive(Debug, Default)]
pub struct Script {
    state: Mutex<ScriptState>,
    interrupt: AtomicBool,
}

#[derive(Debug, Default)]
struct ScriptState {
    exits: VecDeque<Scripted>,
    replies: Vec<Reply>,
    pages: BTreeMap<u64, Page>,
    deadline_ns: Option<u64>,
    counts: Taken,
}

/// An exit, and what happens in the world before it.
struct Scripted {
    exit: Exit,
    before: Option<Box<dyn FnOnce() + Send>>,
}

impl core::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.exit.fmt(f)
    }
}

#[derive(Clone, Copy, Debug)]
enum Page {
    Unmapped,
    At { page: u64, write: bool },
}

impl Script {
    /// Appends an exit.
    pub fn exit(&self, exit: Exit) -> &Self {
        let before = None;
        lock(&self.state).exits.push_back(Scripted { exit, before });
        self
    }

    /// Appends an exit before which, while the vCPU runs, something happens.
    pub fn exit_after(&self, before: impl FnOnce() + Send + 'static, exit: Exit) -> &Self {
        let before: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(before));
        lock(&self.state).exits.push_back(Scripted { exit, before });
        self
    }

    /// Appends a hypercall.
    pub fn call(&self, number: u64, args: &[u64]) -> &Self {
        let mut five = [0; 5];
        five[..args.len()].copy_from_slice(args);
        self.exit(Exit::Call { number, args: five })
    }

    /// Exits not taken yet.
    #[must_use]
    pub fn left(&self) -> usize {
        lock(&self.state).exits.len()
    }

    /// Takes the replies so far; the first is what the vCPU was started with.
    #[must_use]
    pub fn take_replies(&self) -> Vec<Reply> {
        core::mem::take(&mut lock(&self.state).replies)
    }

    /// Maps a virtual page somewhere else than at the same guest-physical address.
    pub fn map(&self, va: u64, gpa: u64, write: bool) {
        let page = gpa >> hv_abi::FRAME_SHIFT;
        lock(&self.state)
            .pages
            .insert(va >> hv_abi::FRAME_SHIFT, Page::At { page, write });
    }

    /// Makes a virtual page fault.
    pub fn unmap(&self, va: u64) {
        lock(&self.state)
            .pages
            .insert(va >> hv_abi::FRAME_SHIFT, Page::Unmapped);
    }

    /// When the vCPU's own timer would fire.
    pub fn set_deadline(&self, at_ns: Option<u64>) {
        lock(&self.state).deadline_ns = at_ns;
    }

    /// Takes the interrupt that is pending, as a guest would.
    #[must_use]
    pub fn take_interrupt(&self) -> bool {
        let takes = self.interrupt.swap(false, Ordering::AcqRel);
        lock(&self.state).counts.interrupts += u32::from(takes);
        takes
    }

    fn translate(&self, va: u64, access: Access) -> Option<Gpa> {
        let offset = va % FRAME_SIZE as u64;
        match lock(&self.state).pages.get(&(va >> hv_abi::FRAME_SHIFT)) {
            None if va < 1 << 40 => Some(Gpa(va)),
            None | Some(Page::Unmapped) => None,
            Some(Page::At { write: false, .. }) if access == Access::Write => None,
            Some(Page::At { page, .. }) => Some(Gpa((page << hv_abi::FRAME_SHIFT) + offset)),
        }
    }
}

/// Registers of the fake CPU, and the body of its record.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Registers {
    /// Program counter: a multiple of 4.
    pub pc: u64,
    /// First argument.
    pub argument: u64,
    /// A register to test with.
    pub scratch: u64,
}

/// A scripted vCPU.
#[derive(Debug)]
pub struct FakeVcpu {
    index: u32,
    script: Arc<Script>,
    registers: Registers,
    loaded: bool,
}

impl FakeVcpu {
    /// Its registers.
    pub fn registers(&mut self) -> &mut Registers {
        &mut self.registers
    }
}

impl Vcpu<Fake> for FakeVcpu {
    fn new(index: u32, platform: &FakePlatform) -> Result<Self, Errno> {
        let script = platform.scripts.get(index as usize).ok_or(Errno::EINVAL)?;
        Ok(Self {
            index,
            script: script.clone(),
            registers: Registers::default(),
            loaded: false,
        })
    }

    fn start(&mut self, _: &FakePlatform, context: StartContext) {
        assert!(!self.loaded, "start of a loaded vCPU");
        self.registers.pc = context.entry;
        self.registers.argument = context.argument;
    }

    fn load(&mut self, host: &FakeHost, _: &FakePlatform, stage2: Mfn, vmid: u16) {
        assert!(!self.loaded, "load of a loaded vCPU");
        assert!(vmid != 0, "tag 0 is the host's");
        let _root_is_ram = host.words(stage2);
        self.loaded = true;
    }

    fn unload(&mut self, _: &FakeHost, _: &FakePlatform) {
        assert!(self.loaded, "unload of a vCPU that is not loaded");
        self.loaded = false;
    }

    fn run(&mut self, _: &FakeHost, _: &FakePlatform, reply: Reply) -> Exit {
        assert!(self.loaded, "run of a vCPU that is not loaded");
        let mut state = lock(&self.script.state);
        state.replies.push(reply);
        let Some(scripted) = state.exits.pop_front() else {
            return Exit::Idle;
        };
        drop(state);
        if let Some(before) = scripted.before {
            before();
        }
        scripted.exit
    }

    fn answer(&mut self, reply: Reply) {
        assert!(self.loaded, "answer to a vCPU that is not loaded");
        lock(&self.script.state).replies.push(reply);
    }

    fn translate(&self, _: &FakeHost, va: u64, access: Access) -> Option<Gpa> {
        assert!(self.loaded, "translation while not loaded");
        self.script.translate(va, access)
    }

    fn has_interrupt(&self, _: &FakePlatform) -> bool {
        self.script.interrupt.load(Ordering::Acquire)
    }

    fn deadline_ns(&self, _: &FakeHost) -> Option<u64> {
        assert!(!self.loaded, "deadline of a loaded vCPU");
        lock(&self.script.state).deadline_ns
    }

    fn initialise(&mut self, context: &[u8]) -> Result<(), Errno> {
        assert!(!self.loaded, "initialisation of a loaded vCPU");
        let registers = Registers::read_from_bytes(context).expect("all of it, and no more");
        if registers.pc % 4 != 0 {
            return Err(Errno::EINVAL);
        }
        self.registers = registers;
        Ok(())
    }

    fn pc(&self) -> u64 {
        self.registers.pc
    }

    fn take_counts(&mut self) -> Taken {
        core::mem::take(&mut lock(&self.script.state).counts)
    }

    fn save(&self, _: &FakePlatform, nth: usize, out: &mut dyn RecordSink) -> Option<()> {
        assert!(!self.loaded, "save of a loaded vCPU");
        (nth == 0).then(|| {
            let _fitted = out.put(CPU_KIND, self.index, self.registers.as_bytes());
        })
    }

    fn restore(&mut self, _: &FakePlatform, header: &Header, body: &[u8]) -> Result<(), Errno> {
        if header.kind != CPU_KIND || header.version != 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        let registers = Registers::read_from_bytes(body).map_err(|_| Errno::EINVAL)?;
        if registers.pc % 4 != 0 {
            return Err(Errno::EINVAL);
        }
        self.registers = registers;
        Ok(())
    }
}

// ------------------------------------------------------------------------------------------------------ platform

/// Interrupts are recorded; each makes its vCPU's one interrupt pending.
#[derive(Debug)]
pub struct FakePlatform {
    scripts: Vec<Arc<Script>>,
    config: PlatformConfig,
    raised: Mutex<VecDeque<GuestInterrupt>>,
    counter_offset: AtomicU64,
}

/// Interrupts kept by [`FakePlatform::take_raised`].
const RAISED_KEPT: usize = 1024;

impl FakePlatform {
    /// The script of a vCPU.
    ///
    /// # Panics
    /// If there is no such vCPU.
    #[must_use]
    pub fn script(&self, vcpu: u32) -> &Script {
        &self.scripts[vcpu as usize]
    }

    /// How it was made.
    #[must_use]
    pub fn config(&self) -> PlatformConfig {
        self.config
    }

    /// Takes the interrupts raised so far.
    #[must_use]
    pub fn take_raised(&self) -> Vec<GuestInterrupt> {
        lock(&self.raised).drain(..).collect()
    }
}

impl Platform<Fake> for FakePlatform {
    fn new(_: &FakeHost, config: &PlatformConfig) -> Result<Self, Errno> {
        if config.vcpus == 0 || config.vcpus > VCPUS_MAX {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            scripts: (0..config.vcpus).map(|_| Arc::default()).collect(),
            config: *config,
            raised: Mutex::default(),
            counter_offset: AtomicU64::new(0),
        })
    }

    fn raise(&self, interrupt: GuestInterrupt) -> Option<u32> {
        let vcpu = match interrupt {
            GuestInterrupt::Upcall { vcpu } => vcpu,
            GuestInterrupt::Line { .. } | GuestInterrupt::Input { .. } => 0,
        };
        let script = self.scripts.get(vcpu as usize);
        let script = script.expect("an interrupt for a vCPU that does not exist");
        let mut raised = lock(&self.raised);
        raised.push_back(interrupt);
        if raised.len() > RAISED_KEPT {
            raised.pop_front();
        }
        let was = script.interrupt.swap(true, Ordering::AcqRel);
        (!was).then_some(vcpu)
    }

    fn clock_scale(&self, _: &FakeHost) -> Option<ClockScale> {
        Some(crate::time::clock_scale(COUNTER_HZ))
    }

    fn set_guest_counter(&self, host: &FakeHost, ticks: u64) {
        let offset = host.now_ns().wrapping_sub(ticks);
        self.counter_offset.store(offset, Ordering::Relaxed);
    }

    fn guest_counter(&self, host: &FakeHost) -> u64 {
        host.now_ns()
            .wrapping_sub(self.counter_offset.load(Ordering::Relaxed))
    }

    fn requirements(&self, _: &FakeHost) -> hv_abi::record::Platform {
        hv_abi::record::Platform {
            counter_hz: COUNTER_HZ,
            ipa_bits: 39,
            ..Default::default()
        }
    }

    fn save(&self, nth: usize, out: &mut dyn RecordSink) -> Option<()> {
        let mut body = [0; VCPUS_MAX as usize];
        for (byte, script) in body.iter_mut().zip(&self.scripts) {
            *byte = u8::from(script.interrupt.load(Ordering::Acquire));
        }
        (nth == 0).then(|| {
            let _fitted = out.put(PLATFORM_KIND, 0, &body);
        })
    }

    fn restore(&self, header: &Header, body: &[u8]) -> Result<(), Errno> {
        if header.kind != PLATFORM_KIND || header.version != 1 {
            return Err(Errno::EOPNOTSUPP);
        }
        let body: &[u8; VCPUS_MAX as usize] = body.try_into().map_err(|_| Errno::EINVAL)?;
        let beyond = body.iter().skip(self.scripts.len()).any(|byte| *byte != 0);
        if beyond || body.iter().any(|byte| *byte > 1) {
            return Err(Errno::EINVAL);
        }
        for (byte, script) in body.iter().zip(&self.scripts) {
            script.interrupt.store(*byte == 1, Ordering::Release);
        }
        Ok(())
    }
}

// ----------------------------------------------------------------------------------------------------------- PTE

/// A fake entry: bit 0 present, 1 table, 2 write, 3 execute, 4 device; the address in bits 12 to 51.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FakePte(u64);

const PRESENT: u64 = 1;
const TABLE: u64 = 2;
const WRITE: u64 = 4;
const EXECUTE: u64 = 8;
const DEVICE: u64 = 16;
const ADDRESS: u64 = 0x000F_FFFF_FFFF_F000;

impl Pte for FakePte {
    const LEVELS: u32 = 3;
    const ROOT_FRAMES: u64 = 2;
    const EMPTY: Self = Self(0);

    fn from_word(word: u64) -> Self {
        Self(word)
    }

    fn to_word(self) -> u64 {
        self.0
    }

    fn table(table: Mfn) -> Self {
        Self((table.0 << hv_abi::FRAME_SHIFT) | PRESENT | TABLE)
    }

    fn leaf(frame: Mfn, level: u32, attributes: Attributes) -> Self {
        assert!(level < 3, "no leaf at level {level}");
        let aligned = frame.0.is_multiple_of(1 << (9 * level));
        assert!(aligned, "{frame:?} is not aligned for level {level}");
        let mut word = (frame.0 << hv_abi::FRAME_SHIFT) | PRESENT;
        for (set, bit) in [
            (attributes.write, WRITE),
            (attributes.execute, EXECUTE),
            (attributes.device, DEVICE),
        ] {
            word |= if set { bit } else { 0 };
        }
        Self(word)
    }

    fn decode(self, level: u32) -> PteKind {
        let frame = Mfn((self.0 & ADDRESS) >> hv_abi::FRAME_SHIFT);
        if self.0 & PRESENT == 0 {
            return PteKind::Empty;
        }
        if self.0 & TABLE != 0 {
            assert!(level > 0, "a table at level 0");
            return PteKind::Table(frame);
        }
        let attributes = Attributes {
            write: self.0 & WRITE != 0,
            execute: self.0 & EXECUTE != 0,
            device: self.0 & DEVICE != 0,
        };
        PteKind::Leaf(frame, attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::HostInterrupt;

    #[test]
    fn bytes_and_words_are_the_same_memory() {
        let host = FakeHost::new(2);
        host.write(RAM_START, 6, &[1, 2, 3, 4]);
        assert_eq!(host.word(RAM_START, 0), 0x0201_0000_0000_0000);
        assert_eq!(host.word(RAM_START, 1), 0x0403);
        host.copy((RAM_START, 7), (Mfn(RAM_START.0 + 1), 0), 2);
        assert_eq!(host.word(Mfn(RAM_START.0 + 1), 0), 0x0302);
    }

    #[test]
    fn deadlines_become_interrupts() {
        let host = FakeHost::new(1);
        host.set_deadline(Some(host.now_ns() + 50));
        host.advance(49);
        assert_eq!(host.take_interrupt(), None);
        host.idle();
        assert_eq!(host.take_interrupt(), Some(HostInterrupt::Timer));
        assert_eq!(host.deadline(0), None);
    }

    #[test]
    #[should_panic(expected = "not RAM")]
    fn an_access_beyond_ram_is_caught() {
        FakeHost::new(1).clear(Mfn(RAM_START.0 + 1));
    }

    #[test]
    fn entries_decode_to_what_they_were_made_of() {
        let leaf = FakePte::leaf(Mfn(0x40200), 1, Attributes::READ_ONLY);
        assert_eq!(
            leaf.decode(1),
            PteKind::Leaf(Mfn(0x40200), Attributes::READ_ONLY)
        );
        assert_eq!(FakePte::table(Mfn(7)).decode(2), PteKind::Table(Mfn(7)));
        assert_eq!(FakePte::EMPTY.decode(0), PteKind::Empty);
    }
}
