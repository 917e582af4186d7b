//! Who may do what with a node.
//!
//! A node has an owner, an access everybody else has, and exceptions for named domains. Domain-0 may do everything. The
//! text form is that of `docs/misc/xenstore.txt`: a letter and a domid per entry, the owner's entry first, carrying the
//! letter that applies to everybody not named.

use super::wire::Errno;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The first domid that is not a domain.
const FIRST_RESERVED: u16 = 0x7ff0;

/// Entries a node may have besides its owner's.
pub const EXCEPTIONS_MAX: usize = 15;

/// What a domain may do with a node's value and children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    None,
    /// Read.
    Read,
    /// Write.
    Write,
    /// Read and write.
    Both,
}

impl Access {
    /// The letter in the text form.
    pub const fn letter(self) -> char {
        match self {
            Self::None => 'n',
            Self::Read => 'r',
            Self::Write => 'w',
            Self::Both => 'b',
        }
    }

    /// The access a letter stands for.
    pub const fn from_letter(letter: char) -> Option<Self> {
        match letter {
            'n' => Some(Self::None),
            'r' => Some(Self::Read),
            'w' => Some(Self::Write),
            'b' => Some(Self::Both),
            _ => None,
        }
    }

    fn includes(self, need: Self) -> bool {
        need == Self::None || self == Self::Both || self == need
    }
}

/// Who is asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Actor(pub u16);

impl Actor {
    pub(super) const DOMAIN_0: Self = Self(0);

    pub(super) fn is_privileged(self) -> bool {
        self == Self::DOMAIN_0
    }
}

/// The permissions of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// May do everything, and pays for the node.
    pub owner: u16,
    /// What domains may that are not named.
    pub others: Access,
    /// What named domains may; the first entry of a domain counts.
    pub exceptions: Vec<(u16, Access)>,
}

impl Permissions {
    /// Only the owner (and Domain-0).
    pub const fn private(owner: u16) -> Self {
        Self {
            owner,
            others: Access::None,
            exceptions: Vec::new(),
        }
    }

    /// Domain-0's node that one domain may access.
    pub fn shared_with(domid: u16, access: Access) -> Self {
        Self {
            exceptions: [(domid, access)].into(),
            ..Self::private(0)
        }
    }

    pub(super) fn allow(&self, actor: Actor, need: Access) -> bool {
        self.is_owner(actor) || self.access_of(actor).includes(need)
    }

    pub(super) fn is_owner(&self, actor: Actor) -> bool {
        actor.is_privileged() || actor.0 == self.owner
    }

    fn access_of(&self, actor: Actor) -> Access {
        self.exceptions
            .iter()
            .find(|(domid, _)| *domid == actor.0)
            .map_or(self.others, |(_, access)| *access)
    }

    /// The same for a node that `actor` creates below: what a guest creates, it owns and pays for.
    pub(super) fn inherited_by(&self, actor: Actor) -> Self {
        let owner = if actor.is_privileged() {
            self.owner
        } else {
            actor.0
        };
        Self {
            owner,
            ..self.clone()
        }
    }

    /// Bytes these permissions are charged with.
    pub(super) fn cost(&self) -> usize {
        self.exceptions
            .len()
            .saturating_mul(size_of::<(u16, Access)>())
    }

    /// Reads the text form; domids go through `domid` (the connection's translation).
    pub(super) fn parse<'a>(
        entries: impl Iterator<Item = &'a str>,
        domid: impl Fn(u16) -> u16,
    ) -> Result<Self, Errno> {
        let mut entries =
            entries.map(|entry| parse_entry(entry).map(|(id, access)| (domid(id), access)));
        let (owner, others) = entries.next().ok_or(Errno::Invalid)??;
        let exceptions: Vec<_> = entries
            .take(EXCEPTIONS_MAX.saturating_add(1))
            .collect::<Result<_, _>>()?;
        if exceptions.len() > EXCEPTIONS_MAX {
            return Err(Errno::NoSpace);
        }
        Ok(Self {
            owner,
            others,
            exceptions,
        })
    }

    /// The entries of the text form.
    pub(super) fn entries(&self, domid: impl Fn(u16) -> u16) -> Vec<String> {
        let first = (self.owner, self.others);
        let all = core::iter::once(&first).chain(&self.exceptions);
        all.map(|(id, access)| format!("{}{}", access.letter(), domid(*id)))
            .collect()
    }
}

fn parse_entry(entry: &str) -> Result<(u16, Access), Errno> {
    let mut letters = entry.chars();
    let access = letters
        .next()
        .and_then(Access::from_letter)
        .ok_or(Errno::Invalid)?;
    Ok((parse_domid(letters.as_str())?, access))
}

/// A domid in decimal.
pub(super) fn parse_domid(text: &str) -> Result<u16, Errno> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let domid = text
        .parse::<u16>()
        .ok()
        .filter(|domid| digits && *domid < FIRST_RESERVED);
    domid.ok_or(Errno::Invalid)
}

#[cfg(test)]
mod tests {
    use super::{Access, Actor, Errno, Permissions, parse_domid};

    #[test]
    fn the_access_matrix() {
        use Access::{Both, None, Read, Write};
        for (granted, read, write) in [
            (None, false, false),
            (Read, true, false),
            (Write, false, true),
            (Both, true, true),
        ] {
            let by_name = Permissions::shared_with(5, granted);
            let by_default = Permissions {
                others: granted,
                ..Permissions::private(3)
            };
            for permissions in [by_name, by_default] {
                assert_eq!(permissions.allow(Actor(5), Read), read, "{permissions:?}");
                assert_eq!(permissions.allow(Actor(5), Write), write, "{permissions:?}");
                assert_eq!(
                    permissions.allow(Actor(5), Both),
                    read && write,
                    "{permissions:?}"
                );
                assert!(permissions.allow(Actor::DOMAIN_0, Both));
                assert!(permissions.allow(Actor(permissions.owner), Both));
            }
        }
    }

    #[test]
    fn an_exception_can_take_away_what_everybody_has() {
        let permissions = Permissions {
            others: Access::Both,
            ..Permissions::shared_with(5, Access::None)
        };
        assert!(!permissions.allow(Actor(5), Access::Read));
        assert!(permissions.allow(Actor(6), Access::Read));
    }

    #[test]
    fn text_form_and_back() {
        let text = ["r0", "n5", "b7", "w32751"];
        let permissions = Permissions::parse(text.into_iter(), |domid| domid).unwrap();
        assert_eq!((permissions.owner, permissions.others), (0, Access::Read));
        assert_eq!(permissions.entries(|domid| domid), text);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "", "r", "x5", "r-1", "r+5", "r65536", "r32752", "5r", "r5 ", "ä5",
        ] {
            assert_eq!(
                Permissions::parse([bad].into_iter(), |domid| domid),
                Err(Errno::Invalid),
                "{bad}"
            );
        }
        assert_eq!(
            Permissions::parse([].into_iter(), |domid| domid),
            Err(Errno::Invalid)
        );
        assert_eq!(
            Permissions::parse(["n0"; 17].into_iter(), |domid| domid),
            Err(Errno::NoSpace)
        );
        assert!(Permissions::parse(["n0"; 16].into_iter(), |domid| domid).is_ok());
        assert_eq!(parse_domid("007"), Ok(7));
    }

    #[test]
    fn a_guest_owns_what_it_creates_and_domain_0_creates_for_the_owner() {
        let above = Permissions {
            owner: 4,
            ..Permissions::shared_with(5, Access::Write)
        };
        assert_eq!(above.inherited_by(Actor(5)).owner, 5);
        assert_eq!(above.inherited_by(Actor::DOMAIN_0).owner, 4);
        assert_eq!(above.inherited_by(Actor(5)).exceptions, above.exceptions);
    }
}
