//! `xen_version` and `vm_assist`.

use hv_abi::xen::assist;
use hv_abi::xen::version::{self as abi, FeatureInfo, feature};
use hv_abi::{Errno, FRAME_SIZE};

use super::{CallContext, Outcome};
use crate::arch::Arch;

/// Bytes of `xen_compile_info`: compiler, by, domain, date.
const COMPILE_INFO: usize = 64 + 16 + 32 + 32;
/// Bytes of the capability string and of the command line.
const TEXT: usize = 1024;

/// Serves the call.
pub fn call<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [command, argument, ..] = *args;
    // What needs no memory of the guest's is answered without what copying takes.
    Outcome::Done(match command {
        abi::VERSION => Ok(abi::REPORTED),
        _ => copied(context, command, argument),
    })
}

#[inline(never)]
fn copied<A: Arch>(
    context: &CallContext<'_, A>,
    command: u64,
    argument: u64,
) -> Result<u64, Errno> {
    match command {
        abi::PAGESIZE => Ok(FRAME_SIZE as u64),
        abi::EXTRAVERSION => answer(context, argument, &abi::REPORTED_EXTRA),
        abi::COMPILE_INFO => answer(context, argument, &text::<COMPILE_INFO>("rustc")),
        abi::CAPABILITIES => answer(context, argument, &text::<TEXT>(A::CAPABILITIES)),
        abi::CHANGESET => answer(context, argument, &text::<64>(env!("CARGO_PKG_VERSION"))),
        abi::PLATFORM_PARAMETERS => answer(context, argument, &0_u64.to_le_bytes()),
        abi::GET_FEATURES => features(context, argument),
        abi::GUEST_HANDLE => answer(context, argument, &context.domain.uuid),
        // What the machine was booted with is not for guests.
        abi::COMMANDLINE => answer(context, argument, &text::<TEXT>("")),
        abi::BUILD_ID => Err(Errno::ENODATA),
        _ => Err(Errno::ENOSYS),
    }
}

fn answer<A: Arch>(
    context: &CallContext<'_, A>,
    argument: u64,
    bytes: &[u8],
) -> Result<u64, Errno> {
    context.write_bytes(argument, bytes)?;
    Ok(0)
}

/// A string, padded with zeros.
fn text<const N: usize>(string: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (byte, from) in bytes.iter_mut().take(N - 1).zip(string.bytes()) {
        *byte = from;
    }
    bytes
}

fn features<A: Arch>(context: &CallContext<'_, A>, argument: u64) -> Result<u64, Errno> {
    let mut info: FeatureInfo = context.copy_in(argument)?;
    let who = if context.domain.is_dom0() {
        feature::DOM0 | feature::DIRECT_MAPPED
    } else {
        feature::NOT_DIRECT_MAPPED
    };
    info.submap = match info.submap_index {
        0 => {
            feature::AUTO_TRANSLATED_PHYSMAP
                | feature::MEMORY_OP_VNODE_SUPPORTED
                | A::FEATURES
                | who
        }
        _ => 0,
    };
    context.copy_out(argument, &info)?;
    Ok(0)
}

/// `vm_assist`.
pub fn assist<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [command, kind, ..] = *args;
    if kind != assist::RUNSTATE_UPDATE_FLAG {
        return Outcome::Done(Err(Errno::EINVAL));
    }
    let mut state = context.domain.lock();
    match command {
        assist::ENABLE => state.assists |= 1 << kind,
        assist::DISABLE => state.assists &= !(1 << kind),
        _ => return Outcome::Done(Err(Errno::ENOSYS)),
    }
    Outcome::Done(Ok(0))
}
