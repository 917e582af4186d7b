//! Building a domain: what goes where in its memory, and the job that puts it there.

pub mod kernel;
pub mod placement;
pub mod tree;
