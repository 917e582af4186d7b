//! A frame's word of metadata: what it says, and how that is encoded.

use hv_abi::DomId;

/// What a frame is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FrameKind {
    /// The hypervisor's image, metadata, shared values.
    Hypervisor,
    /// Boot bundle and host tables.
    Boot,
    /// RAM of a domain.
    Ram,
    /// A page table, or another table of words that the hypervisor keeps for a domain.
    Table,
    /// A page shared between a domain and the hypervisor: `shared_info`, a frame of the grant table.
    Special,
    /// Claimed by Domain-0 for its store.
    Store,
}

/// A frame in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What for.
    pub kind: FrameKind,
    /// Whose.
    pub owner: DomId,
    /// Still holds what its former owner left there.
    pub uncleared: bool,
    /// Given up by its owner, kept by references.
    pub orphan: bool,
    /// References beside the owner's: grant mappings, pinned areas.
    pub references: u32,
}

impl Frame {
    /// A frame of this kind, without references.
    #[must_use]
    pub const fn new(kind: FrameKind, owner: DomId) -> Self {
        Self {
            kind,
            owner,
            uncleared: false,
            orphan: false,
            references: 0,
        }
    }

    /// The same, not cleared yet.
    #[must_use]
    pub const fn uncleared(self) -> Self {
        Self {
            uncleared: true,
            ..self
        }
    }
}

/// A frame's metadata as a value. All zero: inside a free block, or not RAM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Word {
    /// Not the first frame of anything.
    Interior,
    /// First frame of a free block; neighbours in its list by index.
    FreeHead {
        order: u32,
        previous: Option<u32>,
        next: Option<u32>,
    },
    /// In use.
    Used(Frame),
}

const KIND_MASK: u64 = 0xF;
const KIND_FREE_HEAD: u64 = 1;
const ORDER_SHIFT: u32 = 4;
const NEXT_SHIFT: u32 = 9;
const PREVIOUS_SHIFT: u32 = 36;
const LINK_MASK: u64 = (1 << 27) - 1;
const OWNER_SHIFT: u32 = 4;
pub(super) const UNCLEARED: u64 = 1 << 20;
const ORPHAN: u64 = 1 << 21;
const REFERENCES_SHIFT: u32 = 32;

/// Frames that links can name.
pub(super) const FRAMES_MAX: usize = LINK_MASK as usize;

impl FrameKind {
    const fn to_bits(self) -> u64 {
        match self {
            Self::Hypervisor => 2,
            Self::Boot => 3,
            Self::Ram => 4,
            Self::Table => 5,
            Self::Special => 6,
            Self::Store => 7,
        }
    }

    const fn from_bits(bits: u64) -> Option<Self> {
        Some(match bits {
            2 => Self::Hypervisor,
            3 => Self::Boot,
            4 => Self::Ram,
            5 => Self::Table,
            6 => Self::Special,
            7 => Self::Store,
            _ => return None,
        })
    }
}

const fn link_to_bits(link: Option<u32>) -> u64 {
    match link {
        Some(index) => index as u64 + 1,
        None => 0,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "27 bits")]
const fn link_from_bits(bits: u64) -> Option<u32> {
    match bits & LINK_MASK {
        0 => None,
        index => Some((index - 1) as u32),
    }
}

impl Word {
    pub(super) const fn encode(self) -> u64 {
        match self {
            Self::Interior => 0,
            Self::FreeHead {
                order,
                previous,
                next,
            } => {
                KIND_FREE_HEAD
                    | (order as u64) << ORDER_SHIFT
                    | link_to_bits(next) << NEXT_SHIFT
                    | link_to_bits(previous) << PREVIOUS_SHIFT
            }
            Self::Used(frame) => {
                frame.kind.to_bits()
                    | (frame.owner.0 as u64) << OWNER_SHIFT
                    | if frame.uncleared { UNCLEARED } else { 0 }
                    | if frame.orphan { ORPHAN } else { 0 }
                    | (frame.references as u64) << REFERENCES_SHIFT
            }
        }
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "fields are cut out of the word"
    )]
    pub(super) const fn decode(bits: u64) -> Self {
        if bits & KIND_MASK == KIND_FREE_HEAD {
            return Self::FreeHead {
                order: ((bits >> ORDER_SHIFT) & 0x1F) as u32,
                next: link_from_bits(bits >> NEXT_SHIFT),
                previous: link_from_bits(bits >> PREVIOUS_SHIFT),
            };
        }
        match FrameKind::from_bits(bits & KIND_MASK) {
            None => Self::Interior,
            Some(kind) => Self::Used(Frame {
                kind,
                owner: DomId((bits >> OWNER_SHIFT) as u16),
                uncleared: bits & UNCLEARED != 0,
                orphan: bits & ORPHAN != 0,
                references: (bits >> REFERENCES_SHIFT) as u32,
            }),
        }
    }
}
