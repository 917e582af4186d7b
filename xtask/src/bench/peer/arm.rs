//! Xen on ARM.
//!
//! Xen starts a domain by itself from the device tree ("dom0less": `xen,domain` nodes in `/chosen`, Xen's
//! docs/misc/arm/device-tree/booting.txt), so that no toolstack of its own is counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::images::Images;
use harness::machine::Machine;
use harness::process;
use tempfile::TempDir;

use crate::apt::{self, Apt};
use crate::bench::count::{Counted, Counts, Hypervisor};
use crate::bench::figures::{self, Figure, guest_row};
use crate::bench::machines::{BENCH_END, millions};
use crate::failure::Failure;
use crate::{Outcome, command, packages};

/// The package that always depends on Xen's newest image.
const SYSTEM: &str = "xen-system-arm64";
/// Virtual addresses that Xen for arm64 has to itself while it runs.
const XEN: Hypervisor = Hypervisor::Addresses(0x20_0000, 0x40_0000);
/// Where the guest's kernel and ramdisk are put for Xen to find.
const KERNEL_AT: u64 = 0x6400_0000;
const RAMDISK_AT: u64 = 0x6700_0000;
const LIMIT: Duration = Duration::from_secs(600);
const SOON: Duration = Duration::from_secs(20);

/// Xen's image, and what it is.
pub(super) struct Xen {
    image: PathBuf,
    pub(super) version: String,
}

impl Xen {
    /// Fetches it, unless it is there.
    pub(super) fn fetch(images: &Images) -> Outcome<Self> {
        packages::need(&[&packages::DTC])?;
        let folder = images.target().join("guests").join("xen");
        let (image, version) = (folder.join("xen"), folder.join("VERSION"));
        if !version.exists() {
            unpack(&folder, &image, &version)?;
        }
        let version = fs::read_to_string(&version).map_err(Failure::file(&version))?;
        Ok(Self {
            image,
            version: version.trim().to_owned(),
        })
    }

    /// The figures that the peer has, too.
    pub(super) fn figures(&self, images: &Images) -> Outcome<Vec<Figure>> {
        let bytes = fs::metadata(&self.image)
            .map_err(Failure::file(&self.image))?
            .len();
        let mut found = vec![Figure::new(figures::IMAGE, bytes as f64 / 1024.0)];
        found.extend(self.operations(images, "bench", 1)?);
        found.extend(self.operations(images, "bench_ipi", 2)?);
        let boot = self.boot(images, "console=ttyAMA0 quiet alcove_then=idle")?;
        found.push(Figure::new(figures::QUIET_BOOT, millions(boot.hyp)));
        found.push(Figure::new("  exits", boot.exits as f64));
        let boot = self.boot(images, "console=ttyAMA0 alcove_then=idle")?;
        found.push(Figure::new(figures::UART_BOOT, millions(boot.hyp)));
        found.push(Figure::new("  its exits", boot.exits as f64));
        Ok(found)
    }

    fn operations(&self, images: &Images, name: &str, vcpus: u32) -> Outcome<Vec<Figure>> {
        let guest = Guest {
            vcpus,
            kernel: images.guest(name),
            ramdisk: None,
            memory_kib: 16 << 10,
            options: "",
            has_uart: false,
        };
        let (counted, _files) = self.start(images, &guest)?;
        let said = counted.said(BENCH_END, LIMIT)?;
        Ok(said.lines().filter_map(guest_row).collect())
    }

    fn boot(&self, images: &Images, options: &'static str) -> Outcome<Counts> {
        let debian = images.debian();
        let guest = Guest {
            vcpus: 1,
            kernel: debian.join("Image"),
            ramdisk: Some(debian.join("initrd.gz")),
            memory_kib: 256 << 10,
            options,
            has_uart: true,
        };
        let (counted, _files) = self.start(images, &guest)?;
        let up = counted.at("up", LIMIT)?;
        Ok(up.since(counted.at("guest", LIMIT)?))
    }

    fn start(&self, images: &Images, guest: &Guest) -> Outcome<(Counted, TempDir)> {
        let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
        let mut machine = Machine::qemu_virt(&self.image, "");
        machine.initrd = None;
        let tree = device_tree(&machine, guest, folder.path())?;
        machine.extra.extend(["-dtb".into(), tree.into_os_string()]);
        let modules = [
            (Some(&guest.kernel), KERNEL_AT),
            (guest.ramdisk.as_ref(), RAMDISK_AT),
        ];
        for (file, address) in modules {
            let Some(file) = file else { continue };
            let loader = format!(
                "loader,file={},addr={address:#x},force-raw=on",
                file.display()
            );
            machine.extra.extend(["-device".into(), loader.into()]);
        }
        Ok((Counted::start(machine, &XEN, images, LIMIT)?, folder))
    }
}

fn unpack(folder: &Path, image: &Path, version: &Path) -> Outcome {
    let apt = Apt::new(&folder.join("apt"), "arm64")?;
    apt.update()?;
    let depends = apt.depends(SYSTEM)?;
    let name = newest(&depends)
        .ok_or_else(|| Failure::new(format!("the package lists have no {SYSTEM}")))?;
    let root = folder.join("root");
    let mut line = String::new();
    for package in apt.download(&[name])? {
        line = apt::unpack(&package, &root)?;
    }
    let boot = root
        .join("boot")
        .join(name.replacen("xen-hypervisor", "xen", 1));
    fs::copy(&boot, image).map_err(Failure::file(&boot))?;
    fs::write(version, line).map_err(Failure::file(version))
}

fn newest(depends: &str) -> Option<&str> {
    let mut lines = depends.lines();
    lines.find_map(|line| {
        let name = line.trim().strip_prefix("Depends: ")?;
        (name.starts_with("xen-hypervisor-") && name.ends_with("-arm64")).then_some(name)
    })
}

/// A domain that Xen starts.
struct Guest {
    vcpus: u32,
    kernel: PathBuf,
    ramdisk: Option<PathBuf>,
    memory_kib: u64,
    options: &'static str,
    /// An emulated PL011, for which its output is not a console of Xen's.
    has_uart: bool,
}

impl Guest {
    /// Its part of `/chosen`.
    fn node(&self) -> Outcome<String> {
        let mut modules = module("kernel", KERNEL_AT, &self.kernel, self.options)?;
        if let Some(ramdisk) = &self.ramdisk {
            modules += &module("ramdisk", RAMDISK_AT, ramdisk, "")?;
        }
        let uart = if self.has_uart { "vpl011;" } else { "" };
        Ok(format!(
            "domU1 {{ #address-cells = <2>; #size-cells = <2>; compatible = \"xen,domain\"; \
             memory = <0 {}>; cpus = <{}>; {uart} {modules} }};",
            self.memory_kib, self.vcpus
        ))
    }
}

fn module(kind: &str, address: u64, file: &Path, options: &str) -> Outcome<String> {
    let size = fs::metadata(file).map_err(Failure::file(file))?.len();
    Ok(format!(
        "module@{address:x} {{ compatible = \"multiboot,{kind}\", \"multiboot,module\"; \
         reg = <0 {address:#x} 0 {size:#x}>; bootargs = \"{options}\"; }};"
    ))
}

/// The board's own tree with what Xen is to do added.
fn device_tree(machine: &Machine, guest: &Guest, folder: &Path) -> Outcome<PathBuf> {
    let path = |name: &str| folder.join(name);
    let (board, dts, tree) = (path("board.dtb"), path("host.dts"), path("host.dtb"));
    let dumped = process::run(machine.dump_device_tree(&board), SOON);
    dumped.map_err(|error| Failure::Start("the emulator".to_owned(), error))?;
    let mut text = command::output(dtc("dtb", "dts").arg(&board))?;
    text += &format!(
        "/ {{ chosen {{ #address-cells = <2>; #size-cells = <2>; \
         xen,xen-bootargs = \"console=dtuart dtuart=/pl011@9000000 guest_loglvl=all noreboot\"; {} }}; }};",
        guest.node()?
    );
    fs::write(&dts, text).map_err(Failure::file(&dts))?;
    command::run(dtc("dts", "dtb").arg("-o").arg(&tree).arg(&dts))?;
    Ok(tree)
}

fn dtc(from: &str, to: &str) -> Command {
    let mut dtc = Command::new("dtc");
    dtc.args(["-q", "-I", from, "-O", to]);
    dtc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_xen_is_what_the_system_depends_on() {
        let depends = "xen-system-arm64\n  Depends: xen-hypervisor-4.17-arm64\n  Depends: xen-hypervisor-common\n";
        assert_eq!(newest(depends), Some("xen-hypervisor-4.17-arm64"));
        assert_eq!(newest("  Depends: xen-utils-4.17"), None);
    }

    #[test]
    fn a_guest_is_described_with_its_modules() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, [0; 16]).unwrap();
        let guest = Guest {
            vcpus: 2,
            kernel: file.path().into(),
            ramdisk: None,
            memory_kib: 1024,
            options: "quiet",
            has_uart: true,
        };
        let node = guest.node().unwrap();
        assert!(
            node.contains("reg = <0 0x64000000 0 0x10>; bootargs = \"quiet\";"),
            "{node}"
        );
        assert!(
            node.contains("vpl011;") && !node.contains("ramdisk"),
            "{node}"
        );
    }
}
