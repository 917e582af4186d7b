//! Building a domain: what goes where in its memory, and the job that puts it there.

pub(crate) mod job;
pub(crate) mod kernel;
pub(crate) mod placement;
pub(crate) mod tree;
