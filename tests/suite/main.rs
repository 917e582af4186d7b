//! Tests of whole machines. `cargo xtask test` makes the images and runs this, one test at a time.
#![forbid(unsafe_code)]

mod bochs;
mod dashboard;
mod debian;
mod disk;
mod faults;
mod gic;
mod hostile;
mod hvm;
mod images;
mod lifecycle;
mod linux;
mod managed;
mod power_cuts;
mod pty;
mod q35;
mod sched;
mod screens;
mod smp;
mod stage;
mod store;
