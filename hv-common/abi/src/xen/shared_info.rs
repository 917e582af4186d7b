//! `shared_info` and `vcpu_info`: byte offsets, which differ between architectures.
//!
//! Both are pages a guest writes at will; they are reached by offset and atomic word, never as a struct.

/// Where things are in `shared_info` and `vcpu_info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedInfoLayout {
    /// `vcpu_info` entries in `shared_info` (a vCPU beyond them must register its own).
    pub vcpu_infos: usize,
    /// Bytes of a `vcpu_info`.
    pub vcpu_info_size: usize,
    /// `evtchn_upcall_pending` (u8) in `vcpu_info`.
    pub upcall_pending: usize,
    /// `evtchn_upcall_mask` (u8) in `vcpu_info`; absent on ARM, where the interrupt controller masks.
    pub upcall_mask: Option<usize>,
    /// `evtchn_pending_sel` (u64) in `vcpu_info`.
    pub pending_sel: usize,
    /// `vcpu_time_info` (32 bytes) in `vcpu_info`.
    pub time: usize,
    /// `evtchn_pending` (64 x u64) in `shared_info`.
    pub pending: usize,
    /// `evtchn_mask` (64 x u64) in `shared_info`.
    pub mask: usize,
    /// `wc_version`, `wc_sec`, `wc_nsec`, `wc_sec_hi` (u32 each) in `shared_info`.
    pub wall_clock: usize,
}

/// arm64.
pub const ARM64: SharedInfoLayout = SharedInfoLayout {
    vcpu_infos: 1,
    vcpu_info_size: 48,
    upcall_pending: 0,
    upcall_mask: None,
    pending_sel: 8,
    time: 16,
    pending: 48,
    mask: 560,
    wall_clock: 1072,
};

/// x86-64.
pub const X86_64: SharedInfoLayout = SharedInfoLayout {
    vcpu_infos: 32,
    vcpu_info_size: 64,
    upcall_pending: 0,
    upcall_mask: Some(1),
    pending_sel: 8,
    time: 32,
    pending: 2048,
    mask: 2560,
    wall_clock: 3072,
};

/// The public headers' structs, to hold the offsets against.
#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    #[repr(C)]
    struct TimeInfo {
        version: u32,
        pad0: u32,
        tsc_timestamp: u64,
        system_time: u64,
        tsc_to_system_mul: u32,
        tsc_shift: i8,
        flags: u8,
        pad1: [u8; 2],
    }

    #[repr(C)]
    struct ArmVcpuInfo {
        upcall_pending: u8,
        mask: u8,
        pending_sel: u64,
        time: TimeInfo,
    }

    #[repr(C)]
    struct X86VcpuInfo {
        upcall_pending: u8,
        mask: u8,
        pending_sel: u64,
        cr2: u64,
        pad: u64,
        time: TimeInfo,
    }

    #[repr(C)]
    struct SharedInfo<V, const N: usize> {
        vcpu_info: [V; N],
        pending: [u64; 64],
        mask: [u64; 64],
        wc_version: u32,
        wc_sec: u32,
        wc_nsec: u32,
        wc_sec_hi: u32,
    }

    #[test]
    fn offsets_are_those_of_the_public_headers() {
        assert_eq!(size_of::<ArmVcpuInfo>(), ARM64.vcpu_info_size);
        assert_eq!(offset_of!(ArmVcpuInfo, pending_sel), ARM64.pending_sel);
        assert_eq!(offset_of!(ArmVcpuInfo, time), ARM64.time);
        assert_eq!(
            offset_of!(SharedInfo<ArmVcpuInfo, 1>, pending),
            ARM64.pending
        );
        assert_eq!(offset_of!(SharedInfo<ArmVcpuInfo, 1>, mask), ARM64.mask);
        assert_eq!(
            offset_of!(SharedInfo<ArmVcpuInfo, 1>, wc_version),
            ARM64.wall_clock
        );
        assert_eq!(size_of::<X86VcpuInfo>(), X86_64.vcpu_info_size);
        assert_eq!(offset_of!(X86VcpuInfo, time), X86_64.time);
        assert_eq!(
            offset_of!(SharedInfo<X86VcpuInfo, 32>, pending),
            X86_64.pending
        );
        assert_eq!(offset_of!(SharedInfo<X86VcpuInfo, 32>, mask), X86_64.mask);
        assert_eq!(
            offset_of!(SharedInfo<X86VcpuInfo, 32>, wc_version),
            X86_64.wall_clock
        );
    }
}
