//! What is decided before anything of a domain is made: where everything goes, on either architecture.

use super::elf;
use super::kernel::{HEADER, KernelImage};
use super::placement::{self, Placement};
use super::pvh::{self, Misfit};
use crate::domain::Plan;
use crate::hypervisor::Run;
use crate::platform::Architecture;
use crate::store::content::{Content, Piece};
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use hv_abi::FRAME_SIZE;
use hv_abi::control::vcpu::StartContext;
use hv_abi::layout::x86::START_INFO_BASE;
use mgmt_proto::blob::CHUNK;
use mgmt_proto::messages::{ErrorCode, Failure};

/// Where everything of a domain goes.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) architecture: Architecture,
    pub(crate) banks: Vec<Run>,
    /// Parts of the kernel's file.
    pub(crate) kernel: Vec<Part>,
    /// Where the ramdisk begins.
    pub(crate) ramdisk: u64,
    /// The device tree's place, and what it says of the others'.
    pub(crate) placement: Option<Placement>,
    /// How its first vCPU starts.
    pub(crate) context: StartContext,
}

/// A part of a file and where it goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    pub(crate) address: u64,
}

impl Part {
    /// Whether it is the whole file, of this length, at a frame's start: the end of its last frame is nobody else's.
    pub(crate) fn is_alone(&self, length: u64) -> bool {
        self.length == length && self.address.is_multiple_of(FRAME_SIZE as u64)
    }
}

fn bad_image(sentence: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::BAD_IMAGE, sentence)
}

/// Where things go in a domain of this plan; or why it cannot be built.
pub(crate) fn lay_out<F: AsRef<[u8]>>(
    architecture: Architecture,
    plan: &Plan<F>,
) -> Result<Layout, Failure> {
    for content in plan.ramdisk.iter().chain([&plan.kernel]) {
        if let Content::Lost { name, .. } = content {
            return Err(bad_image(format!("'{name}' is no longer in the store"))
                .with_remedy("destroy the domain and create it again"));
        }
    }
    if plan
        .ramdisk
        .as_ref()
        .is_some_and(|ramdisk| ramdisk.length() == 0)
    {
        return Err(bad_image("the ramdisk is empty"));
    }
    let memory_mib = plan.config.memory_mib;
    let banks = placement::banks(architecture.places(), memory_mib).ok_or_else(|| {
        let sentence = format!("a domain cannot have {memory_mib} MiB of memory");
        Failure::new(ErrorCode::BAD_CONFIG, sentence)
    })?;
    match architecture {
        Architecture::Arm64 => lay_out_arm64(plan, banks),
        Architecture::X86_64 => lay_out_x86(plan, banks),
    }
}

fn too_little(memory_mib: u64, needed_mib: u64) -> Failure {
    let sentence =
        format!("memory = {memory_mib} is too little: kernel and ramdisk need {needed_mib} MiB");
    Failure::new(ErrorCode::BAD_CONFIG, sentence).with_remedy("ask for more memory")
}

fn lay_out_arm64<F: AsRef<[u8]>>(plan: &Plan<F>, banks: Vec<Run>) -> Result<Layout, Failure> {
    let start = plan.kernel.start();
    let header = start.get(..HEADER).unwrap_or(start);
    let length = plan.kernel.length();
    let kernel =
        KernelImage::parse(header, length).map_err(|error| bad_image(format!("{error}")))?;
    let ramdisk_length = plan.ramdisk.as_ref().map_or(0, Content::length);
    let memory_mib = plan.config.memory_mib;
    let placement = placement::place(kernel, ramdisk_length, memory_mib)
        .map_err(|small| too_little(memory_mib, small.needed_mib))?;
    Ok(Layout {
        architecture: Architecture::Arm64,
        banks,
        kernel: vec![Part {
            offset: 0,
            length,
            address: placement.kernel,
        }],
        ramdisk: placement.ramdisk,
        context: StartContext {
            entry: placement.kernel,
            argument: placement.tree,
        },
        placement: Some(placement),
    })
}

fn lay_out_x86<F: AsRef<[u8]>>(plan: &Plan<F>, banks: Vec<Run>) -> Result<Layout, Failure> {
    let content = &plan.kernel;
    let kernel = elf::Kernel::parse(content.start(), content.length(), |offset, length| {
        read(content, offset, length)
    });
    let kernel = kernel.map_err(|error| bad_image(format!("{error}")))?;
    let ramdisk_length = plan.ramdisk.as_ref().map_or(0, Content::length);
    let memory_mib = plan.config.memory_mib;
    let ramdisk = pvh::place_ramdisk(&kernel, ramdisk_length, memory_mib);
    let ramdisk = ramdisk.map_err(|misfit| match misfit {
        Misfit::TooSmall(needed_mib) => too_little(memory_mib, needed_mib),
        Misfit::TooLow => bad_image("the kernel wants to be below 1 MiB, where it cannot be"),
    })?;
    let parts = kernel.segments.iter().map(|segment| Part {
        offset: segment.offset,
        length: segment.length,
        address: segment.address,
    });
    Ok(Layout {
        architecture: Architecture::X86_64,
        banks,
        kernel: parts.filter(|part| part.length > 0).collect(),
        ramdisk,
        placement: None,
        context: StartContext {
            entry: kernel.entry,
            argument: START_INFO_BASE,
        },
    })
}

/// Bytes of a content, wherever its chunks are.
fn read<F: AsRef<[u8]>>(content: &Content<F>, offset: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut at = offset;
    while bytes.len() < length {
        let skip = usize::try_from(at % CHUNK as u64).ok()?;
        let wanted = length - bytes.len();
        let before = bytes.len();
        match content.piece(at / CHUNK as u64)? {
            Piece::Bytes(piece) => bytes.extend(piece.get(skip..)?.iter().take(wanted)),
            Piece::Zero(count) => {
                let count = count.checked_sub(skip)?.min(wanted);
                bytes.resize(before + count, 0);
            }
        }
        let read = bytes.len() - before;
        at = at.checked_add(read as u64).filter(|_| read > 0)?;
    }
    Some(bytes)
}
