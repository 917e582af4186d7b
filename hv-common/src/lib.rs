//! The arch-neutral core of the hypervisor: all policy, no unsafe, no hardware.
//!
//! Design principles:
//! 1. **Decode, decide, apply.** An architecture turns hardware state into a plain value, this crate decides, the
//!    architecture applies the answer. See [`arch`].
//! 2. **Every value a guest supplies is data.** It is checked where it comes in; nothing a guest says can make this
//!    crate panic, loop without bound or allocate without limit.
//! 3. **Nothing is allocated that is not charged.** What a domain needs lives in frames that count as its own and
//!    come back when it ends.
//! 4. **Simple and clear before fast and clever**, except on the exit path, which we count in instructions.
//!
//! Order of locks: domain table, domain (two: the lower domid first), a domain's devices, its interrupt controller, frame
//! pool, run queue, log. No lock is held while a guest runs or while waiting for another CPU.
#![cfg_attr(not(any(test, feature = "fake")), no_std)]
#![forbid(unsafe_code)]

pub mod arch;
pub mod clock;
pub mod control;
pub mod device;
pub mod domain;
pub mod event;
pub mod fdt;
pub mod grant;
pub mod hypercall;
pub mod hypervisor;
pub mod lock;
pub mod log;
pub mod memory;
pub mod options;
pub mod sched;
pub mod start;
pub mod time;
pub mod vcpu;

pub use hypervisor::Hypervisor;
