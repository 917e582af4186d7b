// SPDX-License-Identifier: MIT OR Apache-2.0
//! Templates: the configurations of images, with variables for what differs from domain to domain.
//!
//! The variables and the default's form are those of XenMan's image store. A value stands within quotes: none has a
//! character in it that would end them.

use crate::problem::Problem;
use mgmt_proto::config::{check_name, suggest};
use std::hash::{BuildHasher, RandomState};

/// The variables there are.
const VARIABLES: [&str; 6] = [
    "VM_NAME",
    "IMAGE_NAME",
    "IMAGE_LOCATION",
    "VM_DISKS_DIR",
    "AUTOGEN_MAC",
    "DEFAULT_BRIDGE",
];

/// What the variables stand for, in their order.
pub(crate) struct Values([String; 6]);

impl Values {
    /// For a domain of this name made from an image, on a host with this bridge.
    pub(crate) fn new(image: &str, name: &str, bridge: Option<&str>) -> Result<Self, Problem> {
        check(name).map_err(|why| Problem::new(why).with_remedy("choose another name"))?;
        Ok(Self([
            name.to_owned(),
            image.to_owned(),
            format!("store:{image}"),
            "/var/lib/xend/disks".to_owned(),
            random_mac(),
            bridge.unwrap_or("xenbr0").to_owned(),
        ]))
    }

    fn get(&self, variable: &str) -> Option<&str> {
        let mut all = VARIABLES.iter().zip(&self.0);
        let found = all.find(|(name, _)| **name == variable);
        found.map(|(_, value)| value.as_str())
    }
}

/// Whether a domain made from an image may have this name; the sentence says why not.
pub(crate) fn check(name: &str) -> Result<(), &'static str> {
    check_name(name)?;
    if name.contains(['\'', '"', '\\']) {
        return Err("the name of a domain made from an image has no quotes and no '\\'");
    }
    Ok(())
}

/// An address out of Xen's range.
fn random_mac() -> String {
    // Every one of these states is keyed at random.
    let [a, b, c, ..] = RandomState::new().hash_one(0).to_le_bytes();
    format!("00:16:3e:{:02x}:{b:02x}:{c:02x}", a & 0x7f)
}

/// The configuration of an image that brings none.
pub(crate) fn default(has_initrd: bool) -> String {
    let ramdisk = if has_initrd {
        "ramdisk = \"$IMAGE_LOCATION\"\n"
    } else {
        ""
    };
    format!(
        "name = \"$VM_NAME\"\nmemory = 256\nkernel = \"$IMAGE_LOCATION\"\n{ramdisk}extra = \"console=hvc0\"\n"
    )
}

/// Whether a template leaves a domain's name to who makes it.
pub(crate) fn takes_name(template: &str) -> bool {
    template.contains("$VM_NAME") || template.contains("${VM_NAME}")
}

/// Whether a template wants to know the host's bridge.
pub(crate) fn wants_bridge(template: &str) -> bool {
    template.contains("DEFAULT_BRIDGE")
}

/// Fills a template in.
pub(crate) fn render(origin: &str, template: &str, values: &Values) -> Result<String, Problem> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, behind)) = rest.split_once('$') {
        text.push_str(before);
        let (value, behind) = variable(behind, values).map_err(|mut problem| {
            let at = template.len().saturating_sub(behind.len());
            let (line, column) = place(template.get(..at).unwrap_or_default());
            problem.message = format!("{origin}:{line}:{column}: {}", problem.message);
            problem
        })?;
        text.push_str(value);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

/// What stands for the text behind a dollar, and what is behind that.
fn variable<'a>(behind: &'a str, values: &'a Values) -> Result<(&'a str, &'a str), Problem> {
    if let Some(rest) = behind.strip_prefix('$') {
        return Ok(("$", rest));
    }
    let (name, rest) = match behind.strip_prefix('{') {
        Some(inner) => inner
            .split_once('}')
            .ok_or_else(|| unknown("there is no '}' for this '${'".to_owned(), ""))?,
        None => {
            let end = behind.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            behind.split_at(end.unwrap_or(behind.len()))
        }
    };
    match values.get(name) {
        Some(value) => Ok((value, rest)),
        None if name.is_empty() => Err(unknown("'$' stands alone".to_owned(), "")),
        None => Err(unknown(format!("there is no variable '${name}'"), name)),
    }
}

fn unknown(message: String, name: &str) -> Problem {
    let problem = Problem::new(message);
    match suggest(name, VARIABLES) {
        Some(meant) => problem.with_remedy(format!("did you mean '${meant}'?")),
        None => problem.with_remedy(format!(
            "write '$$' for a dollar; there are ${}",
            VARIABLES.join(", $")
        )),
    }
}

/// The line and column of the last character, counted from one.
fn place(until: &str) -> (usize, usize) {
    let lines = until.split('\n');
    let column = until.rsplit('\n').next().unwrap_or_default();
    (lines.count(), column.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use mgmt_proto::config::{ConfigFile, DomainConfig};

    fn values() -> Values {
        Values::new("debian", "web1", Some("br7")).unwrap()
    }

    fn rendered(template: &str) -> String {
        render("t", template, &values()).unwrap()
    }

    fn refused(template: &str) -> String {
        render("t", template, &values()).err().unwrap().to_string()
    }

    #[test]
    fn variables_are_filled_in() {
        assert_eq!(
            rendered("$VM_NAME ${VM_NAME}x $IMAGE_NAME $IMAGE_LOCATION"),
            "web1 web1x debian store:debian"
        );
        assert_eq!(
            rendered("$VM_DISKS_DIR/a $DEFAULT_BRIDGE $$VM_NAME"),
            "/var/lib/xend/disks/a br7 $VM_NAME"
        );
        assert_eq!(rendered("no variables\n"), "no variables\n");
        assert_eq!(rendered(""), "");
    }

    #[test]
    fn addresses_are_xens_and_differ() {
        let macs: Vec<String> = (0..16).map(|_| rendered("$AUTOGEN_MAC")).collect();
        for mac in &macs {
            assert!(mac.starts_with("00:16:3e:") && mac.len() == 17, "{mac}");
        }
        assert!(macs.iter().any(|mac| *mac != macs[0]));
    }

    #[test]
    fn what_is_no_variable_is_refused_with_its_place() {
        for (template, told) in [
            (
                "a = 1\nname = \"$VM_NAM\"",
                "t:2:9: there is no variable '$VM_NAM'\n  help: did you mean '$VM_NAME'?",
            ),
            (
                "$",
                "t:1:1: '$' stands alone\n  help: write '$$' for a dollar",
            ),
            ("é $ x", "t:1:3: '$' stands alone"),
            ("\n\n${VM_NAME", "t:3:1: there is no '}'"),
            ("$VM_NAMEX", "t:1:1: there is no variable '$VM_NAMEX'"),
            ("$vm_name", "t:1:1: there is no variable '$vm_name'"),
        ] {
            assert!(
                refused(template).contains(told),
                "{template}: {}",
                refused(template)
            );
        }
    }

    #[test]
    fn no_name_ends_its_quotes() {
        for name in ["a'b", "a\"b", "a\\b", "a\nb", "", "12", "a/b"] {
            assert!(Values::new("debian", name, None).is_err(), "{name}");
        }
    }

    #[test]
    fn the_default_describes_a_domain() {
        for has_initrd in [false, true] {
            let text = rendered(&default(has_initrd));
            let file = ConfigFile::parse("t", &text).unwrap();
            let (config, warnings) = DomainConfig::from_file(&file).unwrap();
            assert_eq!((config.name.as_str(), config.memory_mib), ("web1", 256));
            assert_eq!(config.kernel.to_string(), "store:debian");
            assert_eq!(config.ramdisk.is_some(), has_initrd);
            assert_eq!(config.command_line, "console=hvc0");
            assert!(warnings.is_empty());
        }
    }
}
