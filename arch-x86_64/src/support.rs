//! Whether this CPU can run guests, and if not, why: a sentence.

/// Which extension there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Extension {
    /// Intel's.
    Vmx,
    /// AMD's.
    Svm,
}

/// What CPUID and MSRs say.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Facts {
    pub(crate) has_vmx: bool,
    pub(crate) has_svm: bool,
    /// IA32_FEATURE_CONTROL.
    pub(crate) feature_control: u64,
    /// VM_CR.
    pub(crate) vm_cr: u64,
    /// EPT, or NPT.
    pub(crate) has_nested_paging: bool,
    /// VMX: unrestricted guest, and secondary controls at all.
    pub(crate) has_unrestricted_guest: bool,
    pub(crate) has_no_execute: bool,
}

/// The extension to use.
///
/// # Errors
/// What is missing, and what to do about it.
pub(crate) fn choose(facts: &Facts) -> Result<Extension, &'static str> {
    const LOCKED: u64 = 1 << 0;
    const VMX_OUTSIDE_SMX: u64 = 1 << 2;
    const SVM_DISABLED: u64 = 1 << 4;
    if !facts.has_no_execute {
        return Err(
            "this CPU has no no-execute pages (NX); if firmware hides them, switch them on there",
        );
    }
    match (facts.has_svm, facts.has_vmx) {
        (true, _) if facts.vm_cr & SVM_DISABLED != 0 => Err(
            "AMD SVM is switched off by firmware (VM_CR.SVMDIS): switch on \"SVM\" or \"virtualization\" in its setup",
        ),
        (true, _) if !facts.has_nested_paging => Err(
            "this CPU has AMD SVM, but no nested paging (NPT): use one that has, such as any since 2008 (on QEMU: -cpu max or -cpu EPYC)",
        ),
        (true, _) => Ok(Extension::Svm),
        (_, true)
            if facts.feature_control & LOCKED != 0
                && facts.feature_control & VMX_OUTSIDE_SMX == 0 =>
        {
            Err(
                "Intel VMX is locked off by firmware (IA32_FEATURE_CONTROL): switch on \"VT-x\" or \"virtualization\" in its setup",
            )
        }
        (_, true) if !facts.has_nested_paging => Err(
            "this CPU has Intel VMX, but no extended page tables (EPT): use one that has, such as any since 2010",
        ),
        (_, true) if !facts.has_unrestricted_guest => Err(
            "this CPU has Intel VMX, but no unrestricted guests: use one that has, such as any since 2010",
        ),
        (_, true) => Ok(Extension::Vmx),
        (false, false) => Err(
            "this CPU has neither Intel VMX nor AMD SVM: use one that has, or switch on \"virtualization\" in firmware's setup if it hides them (on QEMU: -cpu max or -cpu EPYC)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good_amd() -> Facts {
        Facts {
            has_svm: true,
            has_nested_paging: true,
            has_no_execute: true,
            ..Facts::default()
        }
    }

    fn good_intel() -> Facts {
        Facts {
            has_vmx: true,
            has_nested_paging: true,
            has_unrestricted_guest: true,
            feature_control: 5,
            has_no_execute: true,
            ..Facts::default()
        }
    }

    #[test]
    fn each_extension_is_used_where_it_is() {
        assert_eq!(choose(&good_amd()), Ok(Extension::Svm));
        assert_eq!(choose(&good_intel()), Ok(Extension::Vmx));
        let unlocked = Facts {
            feature_control: 0,
            ..good_intel()
        };
        assert_eq!(choose(&unlocked), Ok(Extension::Vmx), "we switch it on");
    }

    #[test]
    fn what_is_missing_is_said() {
        let (amd, intel) = (good_amd(), good_intel());
        let no_nested_paging = |facts| Facts {
            has_nested_paging: false,
            ..facts
        };
        let disabled = Facts {
            vm_cr: 1 << 4,
            ..amd
        };
        let locked = Facts {
            feature_control: 1,
            ..intel
        };
        let restricted = Facts {
            has_unrestricted_guest: false,
            ..intel
        };
        let neither = Facts {
            has_svm: false,
            ..amd
        };
        let executable = Facts {
            has_no_execute: false,
            ..amd
        };
        for (facts, said) in [
            (disabled, "switched off by firmware"),
            (no_nested_paging(amd), "no nested paging"),
            (locked, "locked off"),
            (no_nested_paging(intel), "EPT"),
            (restricted, "unrestricted"),
            (neither, "neither"),
            (executable, "NX"),
        ] {
            let sentence = choose(&facts).expect_err(said);
            assert!(sentence.contains(said), "{sentence}");
        }
    }
}
