//! Hypercalls, typed as far as the hardware's folder is concerned; `crate::hypervisor` names them.

use super::machine::hypercall::invoke;
use hv_abi::control::domain::ShutdownReason;
use hv_abi::xen;
use hv_abi::{CallNumber, Errno};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Makes a call. Pointers among the arguments must point to memory that may be read or written as the call says;
/// the typed wrappers below and in `crate::hypervisor` see to that.
fn raw(number: CallNumber, args: [u64; 5]) -> Result<u64, Errno> {
    Errno::from_return_value(invoke(number, args))
}

/// A call with numbers only.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn call(number: CallNumber, operation: u64, a: u64, b: u64) -> Result<u64, Errno> {
    raw(number, [operation, a, b, 0, 0])
}

/// A call with three numbers.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn call_three(
    number: CallNumber,
    operation: u64,
    a: u64,
    b: u64,
    c: u64,
) -> Result<u64, Errno> {
    raw(number, [operation, a, b, c, 0])
}

/// A call whose second argument is a struct that is read and written back.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn call_with<T: FromBytes + IntoBytes + Immutable>(
    number: CallNumber,
    operation: u64,
    argument: &mut T,
) -> Result<u64, Errno> {
    raw(
        number,
        [operation, core::ptr::from_mut(argument) as u64, 0, 0, 0],
    )
}

/// `grant_table_op` with one element.
///
/// # Errors
/// The hypervisor's; the element has a status of its own.
pub(crate) fn grant_operation<T: FromBytes + IntoBytes + Immutable>(
    operation: u64,
    element: &mut T,
) -> Result<u64, Errno> {
    raw(
        CallNumber::GRANT_TABLE_OP,
        [operation, core::ptr::from_mut(element) as u64, 1, 0, 0],
    )
}

/// A call with `(operation, a, b, buffer)` in which the hypervisor reads `bytes`.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn call_reading(
    number: CallNumber,
    operation: u64,
    a: u64,
    bytes: &[u8],
) -> Result<u64, Errno> {
    raw(
        number,
        [operation, a, bytes.as_ptr() as u64, bytes.len() as u64, 0],
    )
}

/// The same with a second number before the buffer.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn call_reading_at(
    number: CallNumber,
    operation: u64,
    a: u64,
    b: u64,
    bytes: &[u8],
) -> Result<u64, Errno> {
    raw(
        number,
        [operation, a, b, bytes.as_ptr() as u64, bytes.len() as u64],
    )
}

/// A call with `(operation, a, buffer, capacity)` in which the hypervisor fills `bytes`. `capacity` counts what the call
/// counts: bytes or entries.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn call_filling(
    number: CallNumber,
    operation: u64,
    a: u64,
    bytes: &mut [u8],
    capacity: u64,
) -> Result<u64, Errno> {
    raw(
        number,
        [operation, a, bytes.as_mut_ptr() as u64, capacity, 0],
    )
}

/// A call with `(operation, a, b, buffer)` in which the hypervisor fills `bytes`, all of it.
///
/// # Errors
/// The hypervisor's.
pub(crate) fn call_filling_at(
    number: CallNumber,
    operation: u64,
    a: u64,
    b: u64,
    bytes: &mut [u8],
) -> Result<u64, Errno> {
    raw(
        number,
        [
            operation,
            a,
            b,
            bytes.as_mut_ptr() as u64,
            bytes.len() as u64,
        ],
    )
}

/// Writes to the hypervisor's console and log.
pub(crate) fn console_write(text: &[u8]) {
    // There is nowhere to report a failure to.
    let _ = raw(
        CallNumber::CONSOLE_IO,
        [
            xen::console::WRITE,
            text.len() as u64,
            text.as_ptr() as u64,
            0,
            0,
        ],
    );
}

/// Ends Domain-0, and with it the machine (power-off, reboot) or, after a crash, only itself.
pub(crate) fn shutdown(reason: ShutdownReason) -> ! {
    let mut argument = xen::sched::Shutdown { reason: reason.0 };
    loop {
        let _ = call_with(CallNumber::SCHED_OP, xen::sched::SHUTDOWN, &mut argument);
    }
}
