//! Xen on x86.
//!
//! Xen has no domain without its tools: a Linux as Domain-0 starts one after the other by `xl` (xtask/guest/xen-init).

use std::ffi::OsString;
use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use super::dom0::{Guest, Xen};
use crate::Outcome;
use crate::bench::count::{Counted, Counts, Hypervisor};
use crate::bench::figures::{self, Figure, guest_row};
use crate::bench::machines::{Bed, IDLE_S, millions};
use crate::failure::Failure;

/// Virtual addresses that Xen for x86-64 has to itself.
const XEN: Hypervisor = Hypervisor::Addresses(0xFFFF_82D0_4000_0000, 0xFFFF_82D0_8000_0000);
/// In the list of domains, which Domain-0 prints when all have had their time.
const ALL_DONE: &str = "Time(s)";
const LIMIT: Duration = Duration::from_secs(3600);
const MEMORY_MIB: u32 = 2048;
/// QEMU's CPU reads the stack of an IRET to user mode as the kernel does, which SMAP forbids.
const OPTIONS: &str = "console=com1 com1=115200 noreboot dom0_mem=768M smap=hvm guest_loglvl=all";

/// The domains, in the order they are started in; how long each is left alone, in seconds of its time.
const GUESTS: [Guest; 4] = [
    Guest {
        name: "idle",
        seconds: 40,
        vcpus: 1,
        memory_mib: 256,
        linux: Some("quiet alcove_then=idle"),
    },
    Guest {
        name: "work",
        seconds: 30,
        vcpus: 1,
        memory_mib: 512,
        linux: Some("quiet nokaslr norandmaps alcove_then=work"),
    },
    Guest {
        name: "bench",
        seconds: 5,
        vcpus: 1,
        memory_mib: 16,
        linux: None,
    },
    Guest {
        name: "bench_ipi",
        seconds: 5,
        vcpus: 2,
        memory_mib: 16,
        linux: None,
    },
];

/// The figures that the peer has, too.
pub(super) fn figures(xen: &Xen, bed: Bed<'_>, ours: &[Figure]) -> Outcome<Vec<Figure>> {
    let bytes = fs::metadata(&xen.image)
        .map_err(Failure::file(&xen.image))?
        .len();
    let mut found = vec![Figure::new(figures::IMAGE, bytes as f64 / 1024.0)];
    let (counted, _folder) = start(xen, bed)?;
    found.extend(boot(&counted)?);
    found.extend(work(&counted, ours)?);
    let said = counted.said(ALL_DONE, LIMIT)?;
    found.extend(said.lines().filter_map(guest_row));
    Ok(found)
}

fn start(xen: &Xen, bed: Bed<'_>) -> Outcome<(Counted, TempDir)> {
    let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
    let initramfs = folder.path().join("dom0.cpio");
    fs::write(&initramfs, xen.initramfs(bed, &GUESTS)?).map_err(Failure::file(&initramfs))?;
    let mut machine = bed.board.machine(bed.images, "");
    machine.kernel.clone_from(&xen.image);
    machine.initrd = None;
    machine.memory_mib = MEMORY_MIB;
    machine.options = OPTIONS.to_owned();
    let mut modules = OsString::from(&xen.kernel);
    modules.push(" console=hvc0 quiet,");
    modules.push(&initramfs);
    machine.extra.extend(["-initrd".into(), modules]);
    Ok((Counted::start(machine, &XEN, bed.images, LIMIT)?, folder))
}

/// From `xl create` to an idle Linux.
fn boot(counted: &Counted) -> Outcome<Vec<Figure>> {
    let create = counted.nth("begin", 0, LIMIT)?;
    let (guest, up) = (counted.at("guest", LIMIT)?, counted.nth("up", 0, LIMIT)?);
    let (begin, end) = (
        counted.nth("begin", 1, LIMIT)?,
        counted.nth("end", 0, LIMIT)?,
    );
    let (build, boot, idle) = (guest.since(create), up.since(guest), end.since(begin));
    let outside = |counts: Counts| millions(counts.hyp + counts.dom0);
    Ok(vec![
        Figure::new(figures::BUILD, outside(build)),
        Figure::new(figures::QUIET_BOOT, millions(boot.hyp)),
        Figure::new(figures::OUTSIDE, outside(boot)),
        Figure::new("  exits", boot.exits as f64),
        Figure::new(figures::IDLE_LINUX, outside(idle) / IDLE_S),
    ])
}

fn work(counted: &Counted, ours: &[Figure]) -> Outcome<Vec<Figure>> {
    let begin = counted.nth("begin", 2, LIMIT)?;
    let work = counted.nth("end", 1, LIMIT)?.since(begin);
    let native = ours.iter().find(|ours| ours.name == figures::NATIVE_WORK);
    let native = native.map_or(f64::NAN, |native| native.value);
    Ok(vec![
        Figure::new(figures::WORK, millions(work.total()) / native),
        Figure::new("  in the hypervisor", millions(work.hyp)),
        Figure::new("  exits in it", work.exits as f64),
    ])
}
