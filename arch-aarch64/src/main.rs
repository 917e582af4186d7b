//! The hypervisor image for arm64.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
arch_aarch64::entry!(crate::main_of_image);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("bare-metal image: build it with `cargo xtask build`");
}

#[cfg(target_os = "none")]
fn main_of_image(device_tree_address: u64) -> ! {
    use arch_aarch64::hw;
    hw::console::use_pl011(0x0900_0000);
    hw::power::use_conduit(hw::power::Conduit::Smc);
    hw::console::write(b"alcove: hello at EL2\n");
    let _ = device_tree_address;
    let mut space = hw::mmu::AddressSpace::new();
    space.add_ram(0x4000_0000, 1<<30).unwrap();
    space.add_device(0x0900_0000, 4096).unwrap();
    space.add_image().unwrap();
    space.activate();
    hw::console::write(b"alcove: W^X\n");
    panic!("test")
}
