//! Building a domain: what goes where in its memory, and the job that puts it there.

mod acpi;
pub(crate) mod elf;
pub(crate) mod job;
pub(crate) mod kernel;
pub(crate) mod layout;
pub(crate) mod placement;
mod pvh;
pub(crate) mod tree;
