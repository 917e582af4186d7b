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

    #[test]
    fn what_is_missing_is_said() {
        let amd = Facts {
            has_svm: true,
            has_nested_paging: true,
            has_no_execute: true,
            ..Facts::default()
        };
        let intel = Facts {
            has_vmx: true,
            has_nested_paging: true,
            has_unrestricted_guest: true,
            feature_control: 5,
            has_no_execute: true,
            ..Facts::default()
        };
        assert_eq!(choose(&amd), Ok(Extension::Svm));
        assert_eq!(choose(&intel), Ok(Extension::Vmx));
        let unlocked = Facts {
            feature_control: 0,
            ..intel
        };
        assert_eq!(choose(&unlocked), Ok(Extension::Vmx), "we switch it on");
        let said = |facts| choose(&facts).unwrap_err();
        assert!(
            said(Facts {
                vm_cr: 1 << 4,
                ..amd
            })
            .contains("switched off by firmware")
        );
        assert!(
            said(Facts {
                has_nested_paging: false,
                ..amd
            })
            .contains("no nested paging")
        );
        assert!(
            said(Facts {
                feature_control: 1,
                ..intel
            })
            .contains("locked off")
        );
        assert!(
            said(Facts {
                has_nested_paging: false,
                ..intel
            })
            .contains("EPT")
        );
        assert!(
            said(Facts {
                has_unrestricted_guest: false,
                ..intel
            })
            .contains("unrestricted")
        );
        assert!(
            said(Facts {
                has_no_execute: true,
                ..Facts::default()
            })
            .contains("neither")
        );
        assert!(
            said(Facts {
                has_no_execute: false,
                ..amd
            })
            .contains("NX")
        );
    }
}
