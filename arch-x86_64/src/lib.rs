//! x86-64: the architecture's side of the boundary in `hv_common::arch`, for both vendors' extensions.
//!
//! Design principles:
//! 1. **Safe above `hw`.** Decoders, page-table formats, the local APIC's model, CPUID and MSR policy and records are plain
//!    code that host tests run; instructions, registers and raw memory are in [`hw`] only.
//! 2. **A vendor decodes and applies, it does not decide.** [`vendor::Control`] turns a VMCB or a VMCS into an
//!    [`vendor::Event`]; [`vcpu`] decides, once for both.
//! 3. **State stays in hardware while a vCPU stays.** Extended state and debug registers move in `load` and `unload`, not
//!    at every exit.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

mod acpi;
mod address_space;
mod apic;
mod boot_info;
mod bytes;
pub mod calibration;
pub mod clock;
mod control_registers;
mod cpuid;
pub mod ept;
pub mod host;
pub mod hw;
pub mod machine;
pub mod msr;
pub mod npt;
mod paging;
mod permissions;
pub mod platform;
pub mod ports;
mod support;
pub mod svm;
pub mod vcpu;
pub mod vendor;
pub mod vmx;

use core::marker::PhantomData;

use hv_abi::xen::shared_info::{self, SharedInfoLayout};
use hv_abi::xen::version::feature;
use hv_common::arch::DevicePlaces;

use vendor::Vendor;

/// x86-64 with a vendor's extension.
#[derive(Debug)]
pub struct X86<V>(PhantomData<V>);

impl<V: Vendor> hv_common::arch::Arch for X86<V> {
    type Vcpu = vcpu::Vcpu<V>;
    type Platform = platform::Platform;
    type Pte = V::Pte;
    type Host = host::X86Host;
    const SHARED_INFO: SharedInfoLayout = shared_info::X86_64;
    const FEATURES: u32 = feature::HVM_CALLBACK_VECTOR | feature::HVM_SAFE_PVCLOCK;
    const VCPU_CONTEXT: Option<usize> = Some(hv_abi::xen::vcpu::HVM_CONTEXT_SIZE);
    const CAPABILITIES: &'static str = "hvm-3.0-x86_32p hvm-3.0-x86_64 ";
    /// A whole PC is needed for guests that know nothing of the hypervisor.
    const DEVICES: Option<DevicePlaces> = None;
}

#[cfg(test)]
mod tests;
