//! Paths, and what they mean to whom.
//!
//! Inside, a path is absolute, valid, and names domains by *host* domid. A guest names itself by its *guest* domid, which
//! save, restore and clone preserve; [`Identity`] exchanges the two numbers wherever a path or a number crosses the
//! connection. It is an exchange, not a replacement, so that no two names a guest can say mean the same node.

use super::wire::Errno;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Longest absolute path.
pub const ABSOLUTE_MAX: usize = 3072;

/// Longest relative path.
pub const RELATIVE_MAX: usize = 2048;

/// Where the domains' homes are.
pub(super) const DOMAINS: &str = "/local/domain";

/// The names that are no nodes but can be watched: a domain came, a domain went or died.
pub(super) const SPECIAL: [&str; 2] = ["@introduceDomain", "@releaseDomain"];

/// Whether `path` is absolute and well-formed.
pub(super) fn is_absolute(path: &str) -> bool {
    path.len() <= ABSOLUTE_MAX
        && path
            .strip_prefix('/')
            .is_some_and(|rest| rest.is_empty() || is_relative_form(rest))
}

/// Whether `path` is relative and well-formed.
pub(super) fn is_relative(path: &str) -> bool {
    path.len() <= RELATIVE_MAX && !path.starts_with('@') && is_relative_form(path)
}

fn is_relative_form(path: &str) -> bool {
    path.split('/')
        .all(|name| !name.is_empty() && name.bytes().all(is_name_byte))
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_@".contains(&byte)
}

/// The path above, or `None` for the root and for special names.
pub(super) fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (above, _) => Some(above),
    }
}

/// `path` with a slash behind it: what everything below it begins with.
pub(super) fn prefix(path: &str) -> Cow<'_, str> {
    if path == "/" {
        Cow::Borrowed("/")
    } else {
        Cow::Owned(format!("{path}/"))
    }
}

/// The part of `path` below `above`, if it is strictly below.
pub(super) fn below<'a>(path: &'a str, above: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(above)?;
    let rest = if above == "/" {
        rest
    } else {
        rest.strip_prefix('/')?
    };
    (!rest.is_empty()).then_some(rest)
}

/// Whether `path` is `above` or below it.
pub(super) fn within(path: &str, above: &str) -> bool {
    path == above || below(path, above).is_some()
}

/// The home of a domain.
pub(super) fn home(domid: u16) -> String {
    format!("{DOMAINS}/{domid}")
}

/// The two numbers of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The number the host knows it by.
    pub host: u16,
    /// The number it knows itself by.
    pub guest: u16,
}

/// A path a guest said, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The path inside.
    pub path: String,
    /// Whether it was said relative to the guest's home.
    pub relative: bool,
}

impl Identity {
    /// Understands a path of a node.
    pub(super) fn resolve(&self, said: &str) -> Result<Resolved, Errno> {
        if is_absolute(said) {
            Ok(Resolved {
                path: self.translate(said),
                relative: false,
            })
        } else if is_relative(said) {
            Ok(Resolved {
                path: format!("{}/{said}", home(self.host)),
                relative: true,
            })
        } else {
            Err(Errno::Invalid)
        }
    }

    /// Understands a path of a node, or a special name.
    pub(super) fn resolve_watchable(&self, said: &str) -> Result<Resolved, Errno> {
        if SPECIAL.contains(&said) {
            return Ok(Resolved {
                path: said.to_string(),
                relative: false,
            });
        }
        self.resolve(said)
    }

    /// How `path` is said to the guest by a watch that was registered `relative` or not.
    pub(super) fn say(&self, path: &str, relative: bool) -> String {
        let below_home = if relative {
            below(path, &home(self.host))
        } else {
            None
        };
        below_home.map_or_else(|| self.translate(path), ToString::to_string)
    }

    /// Exchanges the two numbers.
    pub(super) fn exchange(&self, domid: u16) -> u16 {
        match domid {
            domid if domid == self.host => self.guest,
            domid if domid == self.guest => self.host,
            other => other,
        }
    }

    /// Exchanges the two numbers in the name of a child of `path`.
    pub(super) fn child_name(&self, path: &str, name: &str) -> String {
        let depth = path.split('/').filter(|part| !part.is_empty()).count();
        let parts: Vec<&str> = components(path).collect();
        if self.host != self.guest && is_domid_place(&parts, depth) {
            return self.exchange_name(name);
        }
        name.to_string()
    }

    /// Exchanges the two numbers wherever an absolute path names a domain. It is its own inverse.
    fn translate(&self, path: &str) -> String {
        if self.host == self.guest || below(path, DOMAINS).is_none() {
            return path.to_string();
        }
        let parts: Vec<&str> = components(path).collect();
        let mut result = String::with_capacity(path.len().saturating_add(8));
        for (place, part) in parts.iter().enumerate() {
            result.push('/');
            if is_domid_place(&parts, place) {
                result.push_str(&self.exchange_name(part));
            } else {
                result.push_str(part);
            }
        }
        result
    }

    fn exchange_name(&self, name: &str) -> String {
        if name == self.host.to_string() {
            self.guest.to_string()
        } else if name == self.guest.to_string() {
            self.host.to_string()
        } else {
            name.to_string()
        }
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').skip(1).filter(|part| !part.is_empty())
}

/// `/local/domain/ID/…` and `/local/domain/ID/backend/TYPE/ID/…`.
fn is_domid_place(parts: &[&str], place: usize) -> bool {
    let in_domains = matches!(parts, ["local", "domain", ..]);
    let in_backend = matches!(parts, [_, _, _, "backend", ..]);
    in_domains && (place == 2 || (place == 5 && in_backend))
}

#[cfg(test)]
mod tests {
    use super::{
        ABSOLUTE_MAX, Identity, RELATIVE_MAX, below, is_absolute, is_relative, parent, within,
    };
    use alloc::format;
    use alloc::string::ToString;

    #[test]
    fn well_formed_paths() {
        for path in ["/", "/a", "/local/domain/5", "/a-b/c_d/@e/F9"] {
            assert!(is_absolute(path), "{path}");
        }
        for path in ["a", "device/vbd/51712", "0"] {
            assert!(is_relative(path), "{path}");
        }
        for path in [
            "", "//", "/a/", "/a//b", "a/", "a b", "/ä", "/a\n", "/a.b", "/a:b", "/a\\b",
        ] {
            assert!(!is_absolute(path) && !is_relative(path), "{path}");
        }
        assert!(!is_relative("@releaseDomain"));
        assert!(is_absolute(&format!("/{}", "a".repeat(ABSOLUTE_MAX - 1))));
        assert!(!is_absolute(&format!("/{}", "a".repeat(ABSOLUTE_MAX))));
        assert!(is_relative(&"a".repeat(RELATIVE_MAX)));
        assert!(!is_relative(&"a".repeat(RELATIVE_MAX + 1)));
    }

    #[test]
    fn family() {
        assert_eq!(parent("/"), None);
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("@releaseDomain"), None);
        assert_eq!(below("/a/b/c", "/a"), Some("b/c"));
        assert_eq!(below("/ab", "/a"), None);
        assert_eq!(below("/a", "/"), Some("a"));
        assert_eq!(below("/", "/"), None);
        assert!(within("/a", "/a") && within("/a/b", "/a") && !within("/ab", "/a"));
    }

    #[test]
    fn a_guest_with_its_own_number_is_understood_word_for_word() {
        let same = Identity { host: 5, guest: 5 };
        assert_eq!(
            same.resolve("/local/domain/7/x").unwrap().path,
            "/local/domain/7/x"
        );
        assert_eq!(
            same.resolve("device").unwrap().path,
            "/local/domain/5/device"
        );
    }

    #[test]
    fn the_two_numbers_are_exchanged_and_back() {
        let moved = Identity { host: 9, guest: 5 };
        for (said, meant) in [
            ("/local/domain/5", "/local/domain/9"),
            ("/local/domain/5/data/5", "/local/domain/9/data/5"),
            ("/local/domain/9/x", "/local/domain/5/x"),
            ("/local/domain/55/x", "/local/domain/55/x"),
            ("/local/domain", "/local/domain"),
            (
                "/local/domain/0/backend/vbd/5/51712",
                "/local/domain/0/backend/vbd/9/51712",
            ),
            ("/local/domain/0/backend/vbd", "/local/domain/0/backend/vbd"),
            (
                "/local/domain/0/backend/5/7/5",
                "/local/domain/0/backend/5/7/5",
            ),
            ("/vm/5", "/vm/5"),
            ("/", "/"),
        ] {
            assert_eq!(moved.resolve(said).unwrap().path, meant);
            assert_eq!(moved.say(meant, false), said);
        }
        assert_eq!(
            (moved.exchange(5), moved.exchange(9), moved.exchange(0)),
            (9, 5, 0)
        );
    }

    #[test]
    fn events_of_relative_watches_are_relative() {
        let moved = Identity { host: 9, guest: 5 };
        assert_eq!(
            moved.say("/local/domain/9/control/shutdown", true),
            "control/shutdown"
        );
        assert_eq!(
            moved.say("/local/domain/9/control/shutdown", false),
            "/local/domain/5/control/shutdown"
        );
        assert_eq!(moved.say("@releaseDomain", true), "@releaseDomain");
    }

    #[test]
    fn children_that_are_domains_are_listed_by_the_guests_number() {
        let moved = Identity { host: 9, guest: 5 };
        assert_eq!(moved.child_name("/local/domain", "9"), "5".to_string());
        assert_eq!(moved.child_name("/local/domain/0/backend/vbd", "9"), "5");
        assert_eq!(moved.child_name("/local/domain/9/data", "9"), "9");
        assert_eq!(moved.child_name("/", "9"), "9");
    }
}
