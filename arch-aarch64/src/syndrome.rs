//! Names for exception syndromes (Arm ARM, ESR_ELx), for reports.

/// The exception class of a syndrome.
#[must_use]
pub const fn class(esr: u64) -> u64 {
    (esr >> 26) & 0x3F
}

/// What kind of exception it is, for people.
#[must_use]
pub const fn class_name(esr: u64) -> &'static str {
    match class(esr) {
        0x00 => "undefined instruction",
        0x01 => "WFI or WFE",
        0x07 => "FP or SIMD access",
        0x09 | 0x1C => "pointer authentication",
        0x0E => "illegal execution state",
        0x15 => "SVC",
        0x16 => "HVC",
        0x17 => "SMC",
        0x18 => "system register",
        0x19 => "SVE access",
        0x20 | 0x21 => "instruction abort",
        0x22 => "PC alignment",
        0x24 | 0x25 => "data abort",
        0x26 => "SP alignment",
        0x2F => "SError",
        0x30 | 0x31 => "breakpoint",
        0x32 | 0x33 => "software step",
        0x34 | 0x35 => "watchpoint",
        0x3C => "BRK",
        _ => "exception",
    }
}

/// What kind of fault an abort is; `None` for what is no abort.
#[must_use]
pub const fn fault_name(esr: u64) -> Option<&'static str> {
    if !matches!(class(esr), 0x20 | 0x21 | 0x24 | 0x25) {
        return None;
    }
    Some(match esr & 0x3F {
        0x00..=0x03 => "address size",
        0x04..=0x07 => "translation",
        0x08..=0x0B => "access flag",
        0x0C..=0x0F => "permission",
        0x10 => "external",
        0x14..=0x17 => "external, on a table walk",
        0x21 => "alignment",
        0x30 => "TLB conflict",
        _ => "other",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_host_abort_has_a_readable_name() {
        // EL2 reads an unmapped address: EC 0x25, level 3 translation fault.
        let esr = 0x9600_0007;
        assert_eq!(class_name(esr), "data abort");
        assert_eq!(fault_name(esr), Some("translation"));
        assert_eq!(fault_name(0x5A00_0EA1), None);
    }
}
