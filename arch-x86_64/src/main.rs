//! The hypervisor image for x86-64.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
arch_x86_64::entry!(arch_x86_64::machine::run, arch_x86_64::machine::join);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("bare-metal image: build it with `cargo xtask build`");
}
