//! Boots whole machines in an emulator and talks to them as an operator would.
//!
//! `cargo xtask run`, the demo and the test suite all start machines through this crate, so that there is one place
//! that knows an emulator's command line. It builds nothing and links no image: it finds what `cargo xtask build`
//! made ([`images::Images`]) and uses it as artifacts.
//!
//! Every process started here ends with the program that started it, whichever way that ends (see [`process`]).
#![forbid(unsafe_code)]

pub mod board;
pub mod bochs;
pub mod bundle;
pub mod cpio;
pub mod emulator;
pub mod host;
pub mod images;
pub mod kvm;
pub mod machine;
pub mod nbd;
pub mod operator;
pub mod power;
pub mod power_cuts;
pub mod process;
pub mod random;
pub mod relay;
pub mod serial;
