//! What the small guests share: a bare-metal runtime, just enough to make a claim about the hypervisor and say whether it
//! holds.
//!
//! Each program in `src/bin` is a kernel that `xend` starts like any other. It proves one claim, prints `ok NAME` on its
//! console and switches itself off; if the claim does not hold, or anything unforeseen happens, it prints
//! `FAIL NAME: reason` and switches itself off.
//!
//! `arm` or `x86` holds what differs: how a program begins, page tables, what an exception is, how a hypercall is made,
//! how an interrupt comes, where a domain has what. Both offer the same names, and a few that only their programs use.
#![cfg_attr(target_os = "none", no_std)]
// The unsafe code of a guest is its whole purpose: each module says what it touches.

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
mod arm;
#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod x86;

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
use arm as arch;
#[cfg(all(target_os = "none", target_arch = "x86_64"))]
use x86 as arch;

#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod cpus;
#[cfg(target_os = "none")]
pub mod event;
#[cfg(target_os = "none")]
pub mod hostile;
#[cfg(target_os = "none")]
pub mod hypercall;
#[cfg(target_os = "none")]
pub mod mmu;
#[cfg(target_os = "none")]
pub mod options;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
mod program;
#[cfg(target_os = "none")]
pub mod taken;
#[cfg(target_os = "none")]
pub mod timer;

#[cfg(target_os = "none")]
pub use arch::{interrupts, marks, place, vectors};
#[cfg(all(target_os = "none", target_arch = "aarch64"))]
pub use arm::{gic, serial};
#[cfg(all(target_os = "none", target_arch = "x86_64"))]
pub use x86::{extended, msr, port};

/// Makes a program of a name and a `fn()`: when the function returns, the claim holds. One for a certain architecture
/// says so before its name, and is there on no other.
#[macro_export]
macro_rules! guest {
    ($arch:literal, $name:literal, $body:expr) => {
        #[cfg(target_arch = $arch)]
        $crate::guest!($name, $body);

        #[cfg(not(target_arch = $arch))]
        $crate::guest!($name, || panic!("it is for {}", $arch));
    };
    ($name:literal, $body:expr) => {
        /// Found by the runtime's entry.
        #[cfg(target_os = "none")]
        #[expect(unsafe_code, reason = "a symbol that the runtime links to")]
        #[unsafe(no_mangle)]
        static GUEST_NAME: &str = $name;

        /// Found by the runtime's entry.
        #[cfg(target_os = "none")]
        #[expect(unsafe_code, reason = "a symbol that the runtime links to")]
        #[unsafe(no_mangle)]
        fn guest_main() {
            let body: fn() = $body;
            body();
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            eprintln!("bare-metal guest: build it with `cargo xtask build`");
        }
    };
}

/// Writes a line to the hypervisor's log, where no console is looked at; where there is no such log, to the console.
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => {
        $crate::console::log(format_args!($($argument)*))
    };
}

/// Prints a line on the console.
#[cfg(target_os = "none")]
#[macro_export]
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::console::line(format_args!($($argument)*))
    };
}
