//! What `hv-common/src` may not name: architectures, their vendors, their interrupt controllers and their extensions.
//!
//! In comments and strings as well as in code: policy that is explained by one architecture is policy for one. Words are
//! looked at without their case, and apart where an underscore or a capital divides them. The ABI (`hv-common/abi`) is
//! another matter: guests of each architecture have theirs.

/// Words of which none may appear.
const WORDS: [&str; 22] = [
    "aarch64", "amd", "amd64", "arm", "arm64", "cpuid", "el0", "el1", "el2", "el3", "ept", "hvc",
    "intel", "lapic", "msr", "npt", "psci", "smc", "svm", "vmcb", "vmcs", "vmx",
];
/// Beginnings of which no word may have one: these names have versions and parts.
const BEGINNINGS: [&str; 7] = ["aarch64", "gic", "svm", "vgic", "vmcb", "vmx", "x86"];
/// What no word may have in it.
const PARTS: [&str; 1] = ["apic"];

/// A file, a word that it may use, and why.
type Exception = (&'static str, &'static str, &'static str);

/// As few as possible.
const EXCEPTIONS: [Exception; 0] = [];

/// Adds every place of a source file where it names what it may not.
pub(super) fn check(place: &str, source: &str, found: &mut Vec<String>) {
    check_but(&EXCEPTIONS, place, source, found);
}

fn check_but(exceptions: &[Exception], place: &str, source: &str, found: &mut Vec<String>) {
    if !place.starts_with("hv-common/src/") {
        return;
    }
    let is_excepted = |word: &str| exceptions.iter().any(|it| (it.0, it.1) == (place, word));
    for (line, text) in (1..).zip(source.lines()) {
        let mut bad = parts(text).into_iter().filter(|part| is_name(part));
        if let Some(word) = bad.find(|word| !is_excepted(word)) {
            found.push(format!("{place}:{line}: hv-common names {word}"));
        }
    }
}

fn is_name(part: &str) -> bool {
    WORDS.contains(&part)
        || BEGINNINGS.iter().any(|name| part.starts_with(name))
        || PARTS.iter().any(|name| part.contains(name))
}

/// The words of a line in lower case, divided as the module says.
fn parts(line: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before = ' ';
    for character in line.chars() {
        let divides = before.is_lowercase() && character.is_uppercase();
        if divides || !character.is_alphanumeric() {
            parts.push(String::new());
        }
        if character.is_alphanumeric() {
            let last = parts.last_mut().expect("it begins with one");
            last.extend(character.to_lowercase());
        }
        before = character;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objections(place: &str, source: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(place, source, &mut found);
        found
    }

    #[test]
    fn a_planted_word_is_found_with_its_line() {
        let source = "//! Policy.\n\nfn f() {} // as Intel does\n";
        assert_eq!(
            objections("hv-common/src/event.rs", source),
            ["hv-common/src/event.rs:3: hv-common names intel"]
        );
    }

    #[test]
    fn common_code_knows_no_architecture() {
        for bad in [
            "struct GicVersion;",
            "let vgic_lines = 0;",
            "fn lapic() {}",
            "const X2APIC: u32 = 0;",
            "mod x86;",
            "hv_abi::record::x86::Cpu",
            "fn arm_timer() {}",
            "VMX",
            "// the GIC's",
            "\"psci\"",
            "/// See EL2.",
            "struct ArmTimer;",
            "#[cfg(target_arch = \"aarch64\")]",
        ] {
            assert_eq!(objections("hv-common/src/lib.rs", bad).len(), 1, "{bad}");
        }
        for good in [
            "fn logic() {}",
            "let magic = 0;",
            "let alarm = warm;",
            "the harm that armed things do",
            "struct Pte;",
            "accept, except, interrupt",
            "Pl011",
        ] {
            let found = objections("hv-common/src/lib.rs", good);
            assert!(found.is_empty(), "{good}: {found:?}");
        }
    }

    #[test]
    fn the_abi_and_others_name_what_they_are_for() {
        for place in [
            "hv-common/abi/src/record.rs",
            "arch-x86_64/src/lib.rs",
            "xtask/src/run.rs",
        ] {
            assert!(objections(place, "struct GicRecord;").is_empty(), "{place}");
        }
    }

    #[test]
    fn an_exception_is_for_one_word_in_one_file() {
        let exceptions = [("hv-common/src/a.rs", "amd", "a test")];
        let found = |place, source| {
            let mut found = Vec::new();
            check_but(&exceptions, place, source, &mut found);
            found.len()
        };
        assert_eq!(found("hv-common/src/a.rs", "amd"), 0);
        assert_eq!(found("hv-common/src/a.rs", "amd or intel"), 1);
        assert_eq!(found("hv-common/src/b.rs", "amd"), 1);
    }
}
