//! Accesses to the emulated serial line between marks, for who counts instructions: [`ROUNDS`] loads of UARTFR, then as
//! many stores to UARTDR.
#![cfg_attr(target_os = "none", no_std, no_main)]

guests::guest!("aarch64", "bench_uart", || {
    use guests::gic::{read, write};
    use guests::{marks, serial};

    /// Fewer than fill half of the ring: what follows from that is not counted.
    const ROUNDS: u32 = 500;

    // The first of them is told to Domain-0, and then none for 10 ms.
    write(serial::DR, u32::from(b'.'));
    marks::begin();
    for _ in 0..ROUNDS {
        core::hint::black_box(read(serial::FR));
    }
    marks::end();
    marks::begin();
    for _ in 0..ROUNDS {
        write(serial::DR, u32::from(b'.'));
    }
    marks::end();
});
