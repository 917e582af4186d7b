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

use core::cell::Cell;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::vec::Vec;

use hv_abi::control::vcpu::StartContext;
use hv_abi::record::{Header, Kind};
use hv_abi::xen::shared_info::SharedInfoLayout;
use hv_abi::{Errno, FRAME_SIZE};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{
    Access, Arch, Attributes, Exit, Gfn, Gpa, GuestInterrupt, Host, HostFacts, HostInterrupt,
    MachinePower, Mfn, Platform, PlatformConfig, Pte, PteKind, RecordSink, Reply, Vcpu, Words,
};
use crate::memory::frames::FrameRun;

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
    const CAPABILITIES: &'static str = "xen-3.0-fake";
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
    exits: VecDeque<Exit>,
    replies: Vec<Reply>,
    pages: BTreeMap<u64, Page>,
    deadline_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Page {
    Unmapped,
    At { page: u64, write: bool },
}

impl Script {
    /// Appends an exit.
    pub fn exit(&self, exit: Exit) -> &Self {
        lock(&self.state).exits.push_back(exit);
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
        self.interrupt.swap(false, Ordering::AcqRel)
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

    fn start(&mut self, context: StartContext) {
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
        state.exits.pop_front().unwrap_or(Exit::Idle)
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

    fn pc(&self) -> u64 {
        self.registers.pc
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
            GuestInterrupt::Line { .. } => 0,
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

// ---------------------------------------------------------------------------------------------------------- host

std::thread_local! {
    static CPU: Cell<usize> = const { Cell::new(0) };
}

/// A machine: some RAM, a clock that moves when told, and a memory of what was asked of it.
#[derive(Debug)]
pub struct FakeHost {
    ram: Box<[Words]>,
    shared: Box<[AtomicBool]>,
    now_ns: AtomicU64,
    state: Mutex<HostState>,
}

#[derive(Debug, Default)]
struct HostState {
    deadlines: BTreeMap<usize, u64>,
    interrupts: BTreeMap<usize, VecDeque<HostInterrupt>>,
    kicks: Vec<usize>,
    enabled: BTreeSet<u32>,
    console: Vec<u8>,
    invalidations: VecDeque<Invalidation>,
    idle_in_a_row: u32,
}

/// One call of [`Host::invalidate_stage2`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalidation {
    /// The root table.
    pub root: Mfn,
    /// The tag.
    pub vmid: u16,
    /// The range, if not all.
    pub range: Option<(Gfn, u64)>,
}

/// Idles in a row, with no deadline and no interrupt, that are taken for a test that hangs.
const IDLE_LIMIT: u32 = 1000;
/// Invalidations kept.
const INVALIDATIONS_KEPT: usize = 256;

impl FakeHost {
    /// A machine with that many frames of RAM from [`RAM_START`] on.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        let frame = || [const { AtomicU64::new(0) }; 512];
        Self {
            ram: (0..frames).map(|_| frame()).collect(),
            shared: (0..frames).map(|_| AtomicBool::new(false)).collect(),
            now_ns: AtomicU64::new(1_000_000),
            state: Mutex::default(),
        }
    }

    /// The same, for ever.
    #[must_use]
    pub fn leak(frames: usize) -> &'static Self {
        Box::leak(Box::new(Self::new(frames)))
    }

    /// Frames of RAM.
    #[must_use]
    pub fn frames(&self) -> u64 {
        self.ram.len() as u64
    }

    /// Makes this thread that CPU, for all hosts.
    pub fn be_cpu(cpu: usize) {
        CPU.set(cpu);
    }

    /// Moves the clock. Deadlines that pass become pending interrupts.
    pub fn advance(&self, ns: u64) {
        let now = self.now_ns.fetch_add(ns, Ordering::Relaxed) + ns;
        let mut state = lock(&self.state);
        let due: Vec<usize> = state
            .deadlines
            .iter()
            .filter_map(|(cpu, at)| (*at <= now).then_some(*cpu))
            .collect();
        for cpu in due {
            state.deadlines.remove(&cpu);
            let queue = state.interrupts.entry(cpu).or_default();
            queue.push_back(HostInterrupt::Timer);
        }
    }

    /// Makes a device's interrupt pending on a CPU.
    ///
    /// # Panics
    /// If it is not enabled.
    pub fn interrupt(&self, cpu: usize, number: u32) {
        let mut state = lock(&self.state);
        assert!(state.enabled.contains(&number), "{number} is not enabled");
        let queue = state.interrupts.entry(cpu).or_default();
        queue.push_back(HostInterrupt::Device(number));
    }

    /// The deadline of a CPU.
    #[must_use]
    pub fn deadline(&self, cpu: usize) -> Option<u64> {
        lock(&self.state).deadlines.get(&cpu).copied()
    }

    /// Takes the CPUs that were kicked, in order.
    #[must_use]
    pub fn take_kicks(&self) -> Vec<usize> {
        core::mem::take(&mut lock(&self.state).kicks)
    }

    /// Takes what was written to the console.
    #[must_use]
    pub fn take_console(&self) -> std::string::String {
        let bytes = core::mem::take(&mut lock(&self.state).console);
        std::string::String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Takes the invalidations so far.
    #[must_use]
    pub fn take_invalidations(&self) -> Vec<Invalidation> {
        lock(&self.state).invalidations.drain(..).collect()
    }

    /// Reads a word of a frame.
    #[must_use]
    pub fn word(&self, frame: Mfn, index: usize) -> u64 {
        self.words(frame)[index].load(Ordering::Relaxed)
    }

    fn index(&self, frame: Mfn) -> usize {
        let index = frame.0.checked_sub(RAM_START.0);
        let index = index.and_then(|index| usize::try_from(index).ok());
        match index {
            Some(index) if index < self.ram.len() => index,
            _ => panic!("{frame:?} is not RAM"),
        }
    }

    fn mark_shared(&self, run: &FrameRun, shared: bool) {
        for frame in 0..1 << run.order() {
            let index = self.index(Mfn(run.first().0 + frame));
            let was = self.shared[index].swap(shared, Ordering::AcqRel);
            assert!(was != shared, "frame {index} was shared = {was} before");
        }
    }
}

/// A value that counts as being in frames.
#[derive(Debug)]
pub struct FakeShared<T>(Arc<(T, FrameRun)>);

impl<T> Clone for FakeShared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Deref for FakeShared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.0
    }
}

impl Host for FakeHost {
    type Shared<T: Send + Sync + 'static> = FakeShared<T>;

    fn share<T: Send + Sync + 'static>(&self, run: FrameRun, value: T) -> FakeShared<T> {
        let room = FRAME_SIZE << run.order();
        assert!(size_of::<T>() <= room, "{} in {room}", size_of::<T>());
        self.mark_shared(&run, true);
        FakeShared(Arc::new((value, run)))
    }

    fn unshare<T: Send + Sync + 'static>(
        &self,
        shared: FakeShared<T>,
    ) -> Result<FrameRun, FakeShared<T>> {
        let (value, run) = Arc::try_unwrap(shared.0).map_err(FakeShared)?;
        drop(value);
        self.mark_shared(&run, false);
        Ok(run)
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn counter_hz(&self) -> u64 {
        COUNTER_HZ
    }

    fn cpu(&self) -> usize {
        CPU.get()
    }

    fn set_deadline(&self, at_ns: Option<u64>) {
        let mut state = lock(&self.state);
        match at_ns {
            Some(at) => state.deadlines.insert(CPU.get(), at),
            None => state.deadlines.remove(&CPU.get()),
        };
        drop(state);
        self.advance(0);
    }

    fn kick(&self, cpu: usize) {
        let mut state = lock(&self.state);
        state.kicks.push(cpu);
        let queue = state.interrupts.entry(cpu).or_default();
        if !queue.contains(&HostInterrupt::Kick) {
            queue.push_back(HostInterrupt::Kick);
        }
    }

    fn idle(&self) {
        let mut state = lock(&self.state);
        if state
            .interrupts
            .get(&CPU.get())
            .is_some_and(|q| !q.is_empty())
        {
            state.idle_in_a_row = 0;
            return;
        }
        let deadline = state.deadlines.get(&CPU.get()).copied();
        state.idle_in_a_row += 1;
        assert!(
            deadline.is_some() || state.idle_in_a_row < IDLE_LIMIT,
            "idle for ever"
        );
        drop(state);
        if let Some(at) = deadline {
            lock(&self.state).idle_in_a_row = 0;
            self.advance(at.saturating_sub(self.now_ns()));
        }
    }

    fn take_interrupt(&self) -> Option<HostInterrupt> {
        let mut state = lock(&self.state);
        state.interrupts.get_mut(&CPU.get())?.pop_front()
    }

    fn enable_device_interrupt(&self, number: u32, enabled: bool) {
        let mut state = lock(&self.state);
        if enabled {
            state.enabled.insert(number);
        } else {
            state.enabled.remove(&number);
        }
    }

    fn words(&self, frame: Mfn) -> &Words {
        let index = self.index(frame);
        let shared = self.shared[index].load(Ordering::Acquire);
        assert!(!shared, "{frame:?} holds a shared value");
        &self.ram[index]
    }

    fn read(&self, frame: Mfn, offset: usize, out: &mut [u8]) {
        assert!(
            offset + out.len() <= FRAME_SIZE,
            "read across a frame's end"
        );
        let words = self.words(frame);
        for (at, byte) in (offset..).zip(out) {
            *byte = words[at / 8].load(Ordering::Relaxed).to_le_bytes()[at % 8];
        }
    }

    fn write(&self, frame: Mfn, offset: usize, bytes: &[u8]) {
        assert!(
            offset + bytes.len() <= FRAME_SIZE,
            "write across a frame's end"
        );
        let words = self.words(frame);
        for (at, byte) in (offset..).zip(bytes) {
            let shift = 8 * (at % 8);
            let put = |word: u64| Some(word & !(0xFF << shift) | u64::from(*byte) << shift);
            let _previous = words[at / 8].fetch_update(Ordering::Relaxed, Ordering::Relaxed, put);
        }
    }

    fn copy(&self, from: (Mfn, usize), to: (Mfn, usize), length: usize) {
        let mut bytes = std::vec![0; length];
        self.read(from.0, from.1, &mut bytes);
        self.write(to.0, to.1, &bytes);
    }

    fn clear(&self, frame: Mfn) {
        for word in self.words(frame) {
            word.store(0, Ordering::Relaxed);
        }
    }

    fn publish(&self, frame: Mfn, count: u64) {
        for frame in frame.0..frame.0 + count {
            let _is_ram = self.words(Mfn(frame));
        }
    }

    fn invalidate_stage2(&self, root: Mfn, vmid: u16, range: Option<(Gfn, u64)>) {
        let _is_ram = self.words(root);
        let mut state = lock(&self.state);
        state
            .invalidations
            .push_back(Invalidation { root, vmid, range });
        if state.invalidations.len() > INVALIDATIONS_KEPT {
            state.invalidations.pop_front();
        }
    }

    fn publish_stage2(&self) {}

    fn console(&self, text: &[u8]) {
        lock(&self.state).console.extend_from_slice(text);
    }

    fn power(&self, action: MachinePower) -> ! {
        panic!("the machine ends: {action:?}")
    }

    fn facts(&self) -> HostFacts {
        HostFacts {
            ipa_bits: 39,
            cpus: 2,
            ..HostFacts::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
