//! Hands the linker script to the linker when the guests are built for bare metal.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let architecture = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let directory = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=link.{architecture}.ld");
    println!("cargo:rustc-link-arg-bins=-T{directory}/link.{architecture}.ld");
    // ARM kernels relocate themselves; x86 ones are loaded where they are linked.
    let is_arm = architecture == "aarch64";
    let kind = if is_arm { "-pie" } else { "-no-pie" };
    println!("cargo:rustc-link-arg-bins={kind}");
    println!("cargo:rustc-link-arg-bins=--no-dynamic-linker");
    println!("cargo:rustc-link-arg-bins=-znorelro");
    println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
}
