//! x86-64: the stage-2 entry formats of both vendors, EPT and NPT.
//!
//! What common code calls stage 2 is the extended page table of Intel's VMX ([`ept`]) and the nested page table of AMD's
//! SVM ([`npt`]). Both are four levels of 512 entries, walked and changed by `hv_common::memory::stage2`; here is only
//! how an entry is written.
#![no_std]
#![forbid(unsafe_code)]

pub mod ept;
pub mod npt;

#[cfg(test)]
mod tests;
