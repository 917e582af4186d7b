//! The hypervisor image for arm64.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
arch_aarch64::entry!(arch_aarch64::machine::run, arch_aarch64::machine::join);

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("bare-metal image: build it with `cargo xtask build`");
}
