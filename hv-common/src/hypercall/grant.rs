//! `grant_table_op`: `(command, array, count)`.
//!
//! A batch that gives way continues with the rest of its array: pointer and count in the call's registers say where.

use hv_abi::Errno;
use hv_abi::xen::grant::{self as abi, status};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{CallContext, Outcome};
use crate::arch::Arch;
use crate::grant;

/// Serves the call.
#[inline(never)]
pub fn call<A: Arch>(context: &mut CallContext<'_, A>, args: &[u64; 5]) -> Outcome {
    let [command, ..] = *args;
    match command {
        abi::MAP_GRANT_REF => batch(context, args, map),
        abi::UNMAP_GRANT_REF => batch(context, args, unmap),
        abi::SETUP_TABLE => batch(context, args, setup_table),
        abi::QUERY_SIZE => batch(context, args, query_size),
        abi::GET_VERSION => batch(context, args, get_version),
        abi::SET_VERSION => Outcome::Done(set_version(context, args)),
        _ => Outcome::Done(Err(Errno::ENOSYS)),
    }
}

/// Works off an array, element by element: in, served, out.
fn batch<A: Arch, T: FromBytes + IntoBytes + Immutable>(
    context: &CallContext<'_, A>,
    args: &[u64; 5],
    serve: fn(&CallContext<'_, A>, &mut T) -> Result<(), Errno>,
) -> Outcome {
    let [command, mut array, mut count, fourth, fifth] = *args;
    for done in 0.. {
        if count == 0 {
            return Outcome::Done(Ok(0));
        }
        if context.should_stop(done) {
            return Outcome::Again([command, array, count, fourth, fifth]);
        }
        let served = context.copy_in(array).and_then(|mut element: T| {
            serve(context, &mut element)?;
            context.copy_out(array, &element)
        });
        let next = array.checked_add(size_of::<T>() as u64);
        match (served, next) {
            (Ok(()), Some(next)) => array = next,
            (Err(errno), _) => return Outcome::Done(Err(errno)),
            (Ok(()), None) => return Outcome::Done(Err(Errno::EFAULT)),
        }
        count -= 1;
    }
    Outcome::Done(Ok(0))
}

fn map<A: Arch>(context: &CallContext<'_, A>, request: &mut abi::MapGrantRef) -> Result<(), Errno> {
    let granter = context.peer(request.dom).ok();
    grant::map(
        context.hypervisor,
        context.domain,
        granter.as_deref(),
        request,
    );
    Ok(())
}

fn unmap<A: Arch>(
    context: &CallContext<'_, A>,
    request: &mut abi::UnmapGrantRef,
) -> Result<(), Errno> {
    grant::unmap(context.hypervisor, context.domain, request);
    Ok(())
}

/// What a failed look-up of the subject is as a status.
fn to_status(errno: Errno) -> i16 {
    match errno {
        Errno::EPERM => status::PERMISSION_DENIED,
        Errno::ESRCH => status::BAD_DOMAIN,
        _ => status::GENERAL_ERROR,
    }
}

fn setup_table<A: Arch>(
    context: &CallContext<'_, A>,
    request: &mut abi::SetupTable,
) -> Result<(), Errno> {
    let list = list_frames(context, request);
    request.status = match list {
        Ok(()) => status::OKAY,
        Err(Errno::EFAULT) => return Err(Errno::EFAULT),
        Err(errno) => to_status(errno),
    };
    Ok(())
}

/// The list names guest frames: those of frames that are mapped, and all ones for the others.
fn list_frames<A: Arch>(
    context: &CallContext<'_, A>,
    request: &abi::SetupTable,
) -> Result<(), Errno> {
    let subject = context.subject(request.dom)?;
    grant::ensure_frames(
        context.hypervisor,
        &subject,
        &mut subject.lock(),
        request.frames,
    )?;
    for index in 0..request.frames {
        let gfn = subject.lock().grants.frame_gfn(index);
        let gfn = gfn.map_or(u64::MAX, |gfn| gfn.0);
        let at = request.frame_list.checked_add(8 * u64::from(index));
        context.copy_out(at.ok_or(Errno::EFAULT)?, &gfn)?;
    }
    Ok(())
}

fn query_size<A: Arch>(
    context: &CallContext<'_, A>,
    request: &mut abi::QuerySize,
) -> Result<(), Errno> {
    let frames = context.subject(request.dom).and_then(|subject| {
        let mut state = subject.lock();
        grant::ensure_frames(context.hypervisor, &subject, &mut state, 1)
    });
    match frames {
        Ok(frames) => {
            request.frames = frames;
            request.frames_max = abi::FRAMES_MAX;
            request.status = status::OKAY;
        }
        Err(errno) => request.status = to_status(errno),
    }
    Ok(())
}

fn get_version<A: Arch>(
    context: &CallContext<'_, A>,
    request: &mut abi::GetVersion,
) -> Result<(), Errno> {
    let _exists = context.subject(request.dom)?;
    request.version = 1;
    Ok(())
}

fn set_version<A: Arch>(context: &CallContext<'_, A>, args: &[u64; 5]) -> Result<u64, Errno> {
    let [_, argument, count, ..] = *args;
    if count != 1 {
        return Err(Errno::EINVAL);
    }
    let mut request: abi::SetVersion = context.copy_in(argument)?;
    let wanted = core::mem::replace(&mut request.version, 1);
    context.copy_out(argument, &request)?;
    if wanted == 1 {
        Ok(0)
    } else {
        Err(Errno::EINVAL)
    }
}
