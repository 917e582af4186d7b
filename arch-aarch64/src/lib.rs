//! ARM EL2: the architecture's side of the boundary in `hv_common::arch`.
//!
//! Design principles:
//! 1. **Safe above `hw`.** Decoders, page-table formats, the interrupt controller's model, PSCI and records are plain
//!    code that host tests run; instructions, registers and raw memory are in [`hw`] only.
//! 2. **State stays in hardware while a vCPU stays.** EL1 registers, floating point, timers and list registers move
//!    in [`hv_common::arch::Vcpu::load`] and `unload`, not at every exit.
//! 3. **The guest's interrupt controller is ours, its timer is the machine's.** Timer interrupts are handed on through
//!    list registers that are linked to the physical interrupt.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

pub mod clock;
pub mod exit;
pub mod features;
pub mod host;
pub mod hw;
pub mod machine;
pub mod platform;
pub mod psci;
pub mod stage2;
pub mod syndrome;
pub mod vcpu;
pub mod vgic;

use hv_abi::FRAME_SHIFT;
use hv_abi::layout::arm as layout;
use hv_abi::xen::shared_info::{self, SharedInfoLayout};
use hv_common::arch::{DevicePlace, DevicePlaces, Gfn};

/// ARMv8-A with EL2 and a GICv3, or a GICv2 with the virtualization extensions.
#[derive(Debug)]
pub struct Aarch64;

impl hv_common::arch::Arch for Aarch64 {
    type Vcpu = vcpu::Vcpu;
    type Platform = platform::Platform;
    type Pte = stage2::Stage2Pte;
    type Host = host::ArmHost;
    const SHARED_INFO: SharedInfoLayout = shared_info::ARM64;
    /// XENFEAT_ARM_SMCCC_supported.
    const FEATURES: u32 = 1 << 14;
    /// PSCI starts and stops them.
    const VCPU_CONTEXT: Option<usize> = None;
    const CAPABILITIES: &'static str = "xen-3.0-aarch64 ";
    const DEVICES: Option<DevicePlaces> = Some(DevicePlaces {
        uart: DevicePlace {
            gfn: Gfn(layout::PL011_BASE >> FRAME_SHIFT),
            interrupt: layout::PL011_INTID,
        },
        rtc: DevicePlace {
            gfn: Gfn(layout::PL031_BASE >> FRAME_SHIFT),
            interrupt: layout::PL031_INTID,
        },
    });
}
