//! System registers that `aarch64-cpu` does not have, or not with the fields we need, in the same manner.

use tock_registers::interfaces::{Readable, Writeable};

macro_rules! registers {
    ($($name:ident = $encoding:literal;)*) => {$(
        #[allow(non_camel_case_types, clippy::upper_case_acronyms, reason = "the manual's name")]
        pub(crate) struct $name;

        impl Readable for $name {
            type T = u64;
            type R = ();

            #[inline(always)]
            fn get(&self) -> u64 {
                #[cfg(target_arch = "aarch64")]
                {
                    let value;
                    // SAFETY: reading the registers listed below changes nothing but, for acknowledge registers, the
                    // interrupt controller's state, which memory safety does not rest on.
                    unsafe {
                        core::arch::asm!(concat!("mrs {}, ", $encoding), out(reg) value, options(nostack));
                    }
                    value
                }
                #[cfg(not(target_arch = "aarch64"))]
                unimplemented!()
            }
        }

        impl Writeable for $name {
            type T = u64;
            type R = ();

            #[inline(always)]
            fn set(&self, value: u64) {
                #[cfg(target_arch = "aarch64")]
                // SAFETY: the registers listed below hold state of the guest or of the interrupt controller; none
                // changes what memory means to the hypervisor.
                unsafe {
                    core::arch::asm!(concat!("msr ", $encoding, ", {}"), in(reg) value, options(nostack));
                }
                #[cfg(not(target_arch = "aarch64"))]
                {
                    let _ = value;
                    unimplemented!()
                }
            }
        }
    )*};
}

registers! {
    AFSR0_EL1 = "AFSR0_EL1";
    AFSR1_EL1 = "AFSR1_EL1";
    AMAIR_EL1 = "AMAIR_EL1";
    CNTHP_CVAL_EL2 = "CNTHP_CVAL_EL2";
    CNTP_CVAL_EL0 = "CNTP_CVAL_EL0";
    CNTP_CTL_EL0 = "CNTP_CTL_EL0";
    CNTV_CTL_EL0 = "CNTV_CTL_EL0";
    CPTR_EL2 = "CPTR_EL2";
    CTR_EL0 = "CTR_EL0";
    DCZID_EL0 = "DCZID_EL0";
    FPCR = "S3_3_C4_C4_0";
    FPSR = "S3_3_C4_C4_1";
    HSTR_EL2 = "HSTR_EL2";
    ICC_BPR1_EL1 = "S3_0_C12_C12_3";
    ICC_CTLR_EL1 = "S3_0_C12_C12_4";
    ICC_DIR_EL1 = "S3_0_C12_C11_1";
    ICC_EOIR1_EL1 = "S3_0_C12_C12_1";
    ICC_IAR1_EL1 = "S3_0_C12_C12_0";
    ICC_IGRPEN1_EL1 = "S3_0_C12_C12_7";
    ICC_PMR_EL1 = "S3_0_C4_C6_0";
    ICC_SGI1R_EL1 = "S3_0_C12_C11_5";
    ICC_SRE_EL2 = "S3_4_C12_C9_5";
    ICH_AP0R0_EL2 = "S3_4_C12_C8_0";
    ICH_AP0R1_EL2 = "S3_4_C12_C8_1";
    ICH_AP0R2_EL2 = "S3_4_C12_C8_2";
    ICH_AP0R3_EL2 = "S3_4_C12_C8_3";
    ICH_AP1R0_EL2 = "S3_4_C12_C9_0";
    ICH_AP1R1_EL2 = "S3_4_C12_C9_1";
    ICH_AP1R2_EL2 = "S3_4_C12_C9_2";
    ICH_AP1R3_EL2 = "S3_4_C12_C9_3";
    ICH_HCR_EL2 = "S3_4_C12_C11_0";
    ICH_VMCR_EL2 = "S3_4_C12_C11_7";
    ICH_VTR_EL2 = "S3_4_C12_C11_1";
    ICH_LR0_EL2 = "S3_4_C12_C12_0";
    ICH_LR1_EL2 = "S3_4_C12_C12_1";
    ICH_LR2_EL2 = "S3_4_C12_C12_2";
    ICH_LR3_EL2 = "S3_4_C12_C12_3";
    ICH_LR4_EL2 = "S3_4_C12_C12_4";
    ICH_LR5_EL2 = "S3_4_C12_C12_5";
    ICH_LR6_EL2 = "S3_4_C12_C12_6";
    ICH_LR7_EL2 = "S3_4_C12_C12_7";
    ICH_LR8_EL2 = "S3_4_C12_C13_0";
    ICH_LR9_EL2 = "S3_4_C12_C13_1";
    ICH_LR10_EL2 = "S3_4_C12_C13_2";
    ICH_LR11_EL2 = "S3_4_C12_C13_3";
    ICH_LR12_EL2 = "S3_4_C12_C13_4";
    ICH_LR13_EL2 = "S3_4_C12_C13_5";
    ICH_LR14_EL2 = "S3_4_C12_C13_6";
    ICH_LR15_EL2 = "S3_4_C12_C13_7";
    PAR_EL1 = "PAR_EL1";
    VPIDR_EL2 = "VPIDR_EL2";
}

macro_rules! identification {
    ($($name:literal => $index:expr;)*) => {
        /// The identification register `S3_0_C0_C<crm>_<op2>` of this CPU, by `crm * 8 + op2`; registers without a
        /// name read as zero, as the architecture says.
        pub(crate) fn identification(index: usize) -> u64 {
            #[cfg(target_arch = "aarch64")]
            {
                let value: u64;
                match index {
                    $(
                        // SAFETY: reading an identification register has no effect.
                        $index => unsafe {
                            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack));
                        },
                    )*
                    _ => value = 0,
                }
                value
            }
            #[cfg(not(target_arch = "aarch64"))]
            match index {
                $($index => { let _ = $name; 0 })*
                _ => 0,
            }
        }
    };
}

identification! {
    "S3_0_C0_C1_0" => 8; "S3_0_C0_C1_1" => 9; "S3_0_C0_C1_2" => 10; "S3_0_C0_C1_3" => 11;
    "S3_0_C0_C1_4" => 12; "S3_0_C0_C1_5" => 13; "S3_0_C0_C1_6" => 14; "S3_0_C0_C1_7" => 15;
    "S3_0_C0_C2_0" => 16; "S3_0_C0_C2_1" => 17; "S3_0_C0_C2_2" => 18; "S3_0_C0_C2_3" => 19;
    "S3_0_C0_C2_4" => 20; "S3_0_C0_C2_5" => 21; "S3_0_C0_C2_6" => 22; "S3_0_C0_C2_7" => 23;
    "S3_0_C0_C3_0" => 24; "S3_0_C0_C3_1" => 25; "S3_0_C0_C3_2" => 26; "S3_0_C0_C3_4" => 28;
    "S3_0_C0_C3_5" => 29; "S3_0_C0_C3_6" => 30;
    "S3_0_C0_C4_0" => 32; "S3_0_C0_C4_1" => 33; "S3_0_C0_C4_4" => 36; "S3_0_C0_C4_5" => 37;
    "S3_0_C0_C5_0" => 40; "S3_0_C0_C5_1" => 41;
    "S3_0_C0_C6_0" => 48; "S3_0_C0_C6_1" => 49; "S3_0_C0_C6_2" => 50;
    "S3_0_C0_C7_0" => 56; "S3_0_C0_C7_1" => 57; "S3_0_C0_C7_2" => 58;
}
