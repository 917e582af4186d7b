//! What Domain-0 finds when it starts: one page, the same on both architectures.
//!
//! The page lies in Domain-0's own memory; its address is in `x0` on ARM. On x86 Domain-0 starts as a PVH guest does (32-bit
//! protected mode, paging off), with the page's address in `ebx`. All addresses are machine addresses, which for
//! Domain-0 are guest-physical addresses too.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `"ALCOVED0"`, little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"ALCOVED0");
/// Version of [`Dom0Start`].
pub const VERSION: u32 = 2;
/// Entries of [`Dom0Start::devices`].
pub const DEVICES: usize = 64;
/// Entries of [`Dom0Start::ram_banks`].
pub const RAM_BANKS: usize = 16;
/// Bytes of [`Dom0Start::command_line`].
pub const COMMAND_LINE: usize = 512;

/// A range of machine memory. `size` 0: absent.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Range {
    /// First byte.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

/// What kind of device a [`Device`] is: an open set.
#[repr(transparent)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct DeviceKind(pub u32);

impl DeviceKind {
    /// No device: the entry is unused.
    pub const NONE: Self = Self(0);
    /// A virtio-mmio transport; what is behind it, if anything, its registers say.
    pub const VIRTIO_MMIO: Self = Self(1);
    /// A PL031 real-time clock.
    pub const PL031: Self = Self(2);
    /// A 16550 UART in port space (x86).
    pub const UART_16550: Self = Self(3);
    /// The configuration space of PCI segment 0 in memory, from bus 0 on (x86: ECAM).
    pub const PCI_ECAM: Self = Self(4);
    /// Ports 0xCF8 and 0xCFC: PCI configuration mechanism 1 (x86).
    pub const PCI_PORTS: Self = Self(5);
    /// Address space in which the base addresses of PCI devices lie.
    pub const PCI_MEMORY: Self = Self(6);
    /// An MC146818 real-time clock in port space (x86).
    pub const CMOS: Self = Self(7);

    /// Whether its registers are I/O ports instead of memory.
    #[must_use]
    pub const fn is_in_port_space(self) -> bool {
        matches!(self, Self::UART_16550 | Self::PCI_PORTS | Self::CMOS)
    }
}

/// A device that belongs to Domain-0, mapped at its machine address.
#[repr(C)]
#[derive(
    Clone, Copy, Default, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable,
)]
pub struct Device {
    /// What it is.
    pub kind: DeviceKind,
    /// Its interrupt (INTID on ARM, ISA IRQ on x86); 0: none.
    pub interrupt: u32,
    /// Its registers: machine addresses, or ports ([`DeviceKind::is_in_port_space`]).
    pub registers: Range,
}

/// The start page.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable)]
pub struct Dom0Start {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`VERSION`].
    pub version: u32,
    /// Used entries of `devices`.
    pub device_count: u32,
    /// Domain-0's RAM; image, stack and heap are within.
    pub ram: Range,
    /// The part of `ram` that the image and this page occupy; the rest is free to use.
    pub image: Range,
    /// RAM of the whole machine: frames that Domain-0 claims or is granted lie in it.
    pub ram_banks: [Range; RAM_BANKS],
    /// The boot bundle (newc cpio), outside `ram`, mapped read-only.
    pub bundle: Range,
    /// The host's description, read-only: the FDT on ARM; on x86 the RSDP.
    pub host_tables: Range,
    /// The interrupt controller as Domain-0 sees it: distributor, then CPU interface (GICv2) or redistributors (GICv3).
    pub interrupt_controller: [Range; 2],
    /// Interrupt of the event-channel upcall (INTID on ARM, vector on x86).
    pub event_interrupt: u32,
    /// Interrupt of the virtual timer (INTID on ARM).
    pub timer_interrupt: u32,
    /// Version of the interrupt controller: 2 or 3 on ARM, 0 elsewhere.
    pub interrupt_controller_version: u32,
    /// Zero.
    pub reserved: u32,
    /// Ticks per second of the counter Domain-0 reads.
    pub counter_hz: u64,
    /// Wall-clock time at system time 0, seconds since 1970; 0: unknown.
    pub wall_clock_base_s: u64,
    /// Bytes used of `command_line`.
    pub command_line_length: u64,
    /// The hypervisor's command line.
    pub command_line: [u8; COMMAND_LINE],
    /// The board's name, NUL-padded.
    pub board: [u8; 32],
    /// Devices of Domain-0.
    pub devices: [Device; DEVICES],
}

const _: () = assert!(size_of::<Dom0Start>() <= crate::FRAME_SIZE);

impl Dom0Start {
    /// A page with nothing in it but magic and version.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            ..Self::new_zeroed()
        }
    }
}

use zerocopy::FromZeros as _;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_page_says_what_it_is() {
        let start = Dom0Start::empty();
        assert_eq!(&start.as_bytes()[..8], b"ALCOVED0");
        assert_eq!(
            (start.version, start.device_count, start.ram.size),
            (VERSION, 0, 0)
        );
    }
}
