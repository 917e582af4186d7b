//! Frames, stage-2 tables, access to guest memory.

pub mod account;
pub mod frames;
pub mod guest;
pub mod stage2;
