//! Frames, stage-2 tables, access to guest memory.

pub mod frames;
