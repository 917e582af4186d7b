//! I/O ports of the machine that the hypervisor drives: the first serial line, interrupt controllers, timers, power.

/// Reads a byte.
pub(super) fn read_u8(port: u16) -> u8 {
    #[cfg(target_os = "none")]
    // SAFETY: callers name ports of devices that the hypervisor drives; they do not reach memory.
    return unsafe { x86_64::instructions::port::PortReadOnly::new(port).read() };
    #[cfg(not(target_os = "none"))]
    {
        let _ = port;
        0
    }
}

/// Reads four bytes.
pub(super) fn read_u32(port: u16) -> u32 {
    #[cfg(target_os = "none")]
    // SAFETY: as above.
    return unsafe { x86_64::instructions::port::PortReadOnly::new(port).read() };
    #[cfg(not(target_os = "none"))]
    {
        let _ = port;
        0
    }
}

/// Reads two bytes.
pub(super) fn read_u16(port: u16) -> u16 {
    #[cfg(target_os = "none")]
    // SAFETY: as above.
    return unsafe { x86_64::instructions::port::PortReadOnly::new(port).read() };
    #[cfg(not(target_os = "none"))]
    {
        let _ = port;
        0
    }
}

/// Writes a byte.
pub(super) fn write_u8(port: u16, value: u8) {
    #[cfg(target_os = "none")]
    // SAFETY: as above.
    unsafe {
        x86_64::instructions::port::PortWriteOnly::new(port).write(value);
    }
    #[cfg(not(target_os = "none"))]
    let _ = (port, value);
}

/// Writes two bytes.
pub(super) fn write_u16(port: u16, value: u16) {
    #[cfg(target_os = "none")]
    // SAFETY: as above.
    unsafe {
        x86_64::instructions::port::PortWriteOnly::new(port).write(value);
    }
    #[cfg(not(target_os = "none"))]
    let _ = (port, value);
}
