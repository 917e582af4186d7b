//! xend driven as its shell drives it, with real messages, over a hypervisor of ordinary memory.

mod auto;
mod blobs;
mod clock;
mod hvm;
mod images;
mod interrupted;
mod lifecycle;
mod managed;
mod repeats;
mod robustness;
mod scheduling;
mod snapshots;
mod snapshots_on_disk;
mod stats;
mod store;
mod world;
