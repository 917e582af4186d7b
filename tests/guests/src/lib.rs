//! What the small guests share: a bare-metal runtime at EL1, just enough to make a claim about the hypervisor and say
//! whether it holds.
//!
//! Each program in `src/bin` is a Linux Image that `xend` starts like any kernel. It proves one claim, prints `ok NAME`
//! on its console and switches itself off; if the claim does not hold, or anything unforeseen happens, it prints
//! `FAIL NAME: reason` and switches itself off. The addresses it uses are those of [`hv_abi::layout::arm`]; the device
//! tree is Linux's to judge: all that is read of it is the command line, and whether there is a serial line.
#![cfg_attr(target_os = "none", no_std)]
// The unsafe code of a guest is its whole purpose: each module says what it touches.

#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod cpus;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
pub mod event;
#[cfg(target_os = "none")]
pub mod gic;
#[cfg(target_os = "none")]
pub mod hostile;
#[cfg(target_os = "none")]
pub mod hypercall;
#[cfg(target_os = "none")]
pub mod marks;
#[cfg(target_os = "none")]
pub mod mmu;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
pub mod serial;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(target_os = "none")]
pub mod tree;
#[cfg(target_os = "none")]
pub mod vectors;

/// Makes a program of a name and a `fn()`: when the function returns, the claim holds.
#[macro_export]
macro_rules! guest {
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
