//! Xen's public guest interface, as far as it is served (Xen 4.17, `xen/include/public`, MIT).

pub mod event;
pub mod grant;
pub mod hvm;
pub mod memory;
pub mod sched;
pub mod shared_info;
pub mod vcpu;
pub mod version;

/// `console_io` operations.
pub mod console {
    /// `(count, buffer)`: write to the hypervisor's console.
    pub const WRITE: u64 = 0;
    /// `(count, buffer)`: read from it.
    pub const READ: u64 = 1;
}

/// `vm_assist`: `(command, type)`.
pub mod assist {
    /// Switch an assist on.
    pub const ENABLE: u64 = 0;
    /// Switch an assist off.
    pub const DISABLE: u64 = 1;
    /// Set bit 63 of the runstate area's entry time while it is written.
    pub const RUNSTATE_UPDATE_FLAG: u64 = 5;
}
