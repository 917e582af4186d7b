//! The fake machine: RAM, a clock, and a memory of what was asked of it.

use core::cell::Cell;
use core::ops::Deref;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::vec::Vec;

use hv_abi::FRAME_SIZE;
use zerocopy::FromZeros;

use super::{COUNTER_HZ, RAM_START, lock};
use crate::arch::{Gfn, Host, HostFacts, HostInterrupt, MachinePower, Mfn, Words};
use crate::memory::frames::FrameRun;

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
    ///
    /// # Panics
    /// If there is no memory for it.
    #[must_use]
    pub fn new(frames: usize) -> Self {
        Self {
            // Zeroed by the allocator: RAM that is never touched costs nothing.
            ram: <[Words]>::new_box_zeroed_with_elems(frames).expect("memory for a machine"),
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
