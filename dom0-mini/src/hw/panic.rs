//! The end of Domain-0 by a bug: said on the hypervisor's console; the hypervisor and the guests run on.

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    crate::console_log::emergency(format_args!("Domain-0 panicked: {info}\n"));
    super::hypercall::shutdown(hv_abi::control::domain::ShutdownReason::CRASH)
}
