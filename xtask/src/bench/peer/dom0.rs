//! Debian's Xen for x86, its tools, and the Linux that runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use elf::ElfBytes;
use elf::abi::DT_NEEDED;
use elf::endian::LittleEndian;
use harness::cpio::Writer;

use crate::apt::{self, Apt};
use crate::bench::machines::Bed;
use crate::failure::Failure;
use crate::{Outcome, bzimage, command, initramfs, packages};

const INIT: &str = include_str!("../../../guest/xen-init");
/// The package that always depends on Xen's newest image and tools.
const SYSTEM: &str = "xen-system-amd64";
/// Domain-0 needs the kernel with drivers; the cloud kernel cannot be one.
const KERNEL: &str = "linux-image-amd64";
const PROGRAMS: [&str; 5] = [
    "xl",
    "xenstored",
    "xenconsoled",
    "xen-init-dom0",
    "libxl-save-helper",
];
const MODULES: [&str; 5] = [
    "xen-privcmd",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xenfs",
];
/// Loaded by name, where threads end.
const UNWINDER: &str = "libgcc_s.so.1";
const LOADER: (&str, &str) = ("lib64", "ld-linux-x86-64.so.2");
const LIBRARIES: &str = "lib/x86_64-linux-gnu";
const FOLDERS: [&str; 22] = [
    "bin",
    "sbin",
    "usr",
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "etc",
    "etc/xen",
    "lib",
    "lib64",
    LIBRARIES,
    "lib/modules",
    "lib/marks",
    "var",
    "var/lib",
    "var/log",
    "domains",
];

/// A domain that Xen's Domain-0 starts.
pub(super) struct Guest {
    pub(super) name: &'static str,
    pub(super) seconds: u32,
    pub(super) vcpus: u32,
    pub(super) memory_mib: u32,
    /// Debian's Linux with these options; otherwise it is one of our own guests.
    pub(super) linux: Option<&'static str>,
}

impl Guest {
    /// As `xl` takes it. QEMU reports RDTSC for RDTSCP exits, so the TSC is left to the guest.
    fn config(&self) -> String {
        let Self {
            name,
            vcpus,
            memory_mib,
            ..
        } = self;
        let what = match self.linux {
            Some(options) => format!(
                "kernel=\"/domains/vmlinux\"\nramdisk=\"/domains/initrd.gz\"\n\
                 extra=\"console=hvc0 {options}\"\n"
            ),
            None => format!("kernel=\"/domains/{name}\"\n"),
        };
        format!(
            "name=\"{name}\"\ntype=\"pvh\"\nmemory={memory_mib}\nvcpus={vcpus}\n\
             tsc_mode=\"native\"\n{what}"
        )
    }
}

/// Xen's image, its Domain-0, and what it is.
pub(super) struct Xen {
    /// As QEMU loads it by the multiboot protocol.
    pub(super) image: PathBuf,
    pub(super) kernel: PathBuf,
    pub(super) version: String,
    root: PathBuf,
}

impl Xen {
    /// Fetches it, unless it is there.
    pub(super) fn fetch(bed: Bed<'_>) -> Outcome<Self> {
        let folder = bed.images.target().join("guests").join("xen-x86_64");
        let file = folder.join("VERSION");
        let mut xen = Self {
            image: folder.join("xen"),
            kernel: folder.join("vmlinux"),
            version: String::new(),
            root: folder.join("root"),
        };
        if !file.exists() {
            let version = xen.unpack(&folder)?;
            fs::write(&file, version).map_err(Failure::file(&file))?;
        }
        let version = fs::read_to_string(&file).map_err(Failure::file(&file))?;
        xen.version = version.trim().to_owned();
        Ok(xen)
    }

    /// Returns Xen's name and version.
    fn unpack(&self, folder: &Path) -> Outcome<String> {
        let apt = Apt::new(&folder.join("apt"), "amd64")?;
        apt.update()?;
        let missing = |name: &str| Failure::new(format!("the package lists have no {name}"));
        let system = apt.depends(SYSTEM)?;
        let find = |start: &str| needs(&system).find(|name| name.starts_with(start));
        let hypervisor = find("xen-hypervisor-4").ok_or_else(|| missing(SYSTEM))?;
        let tools = find("xen-utils-4").ok_or_else(|| missing(SYSTEM))?;
        let kernels = apt.depends(KERNEL)?;
        let kernel = needs(&kernels).find(|name| name.starts_with("linux-image-"));
        let kernel = kernel.ok_or_else(|| missing(KERNEL))?;
        let mut names = vec![hypervisor.to_owned(), tools.to_owned(), kernel.to_owned()];
        add_libraries(&apt, &mut names)?;
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        apt::remove(&self.root)?;
        let mut version = String::new();
        for package in apt.download(&names)? {
            let line = apt::unpack(&package, &self.root)?;
            if line.starts_with(hypervisor) {
                version = line;
            }
        }
        let boot = self.root.join("boot");
        let packed = boot.join(format!("{}.gz", hypervisor.replacen("-hypervisor", "", 1)));
        unpacked(Command::new("gzip").arg("-dc").arg(packed), &self.image)?;
        let kernel = boot.join(kernel.replacen("linux-image", "vmlinuz", 1));
        self.unpack_kernel(&kernel)?;
        Ok(version)
    }

    fn unpack_kernel(&self, vmlinuz: &Path) -> Outcome {
        packages::need(&[&packages::XZ])?;
        let bytes = read(vmlinuz)?;
        let payload = bzimage::payload(&bytes);
        let payload =
            payload.ok_or_else(|| Failure::new(format!("{}: no bzImage", vmlinuz.display())))?;
        let packed = self.kernel.with_extension("xz");
        fs::write(&packed, payload).map_err(Failure::file(&packed))?;
        // The unpacked length follows.
        let mut xz = Command::new("xz");
        xz.args(["-dc", "--single-stream"]).arg(&packed);
        unpacked(&mut xz, &self.kernel)?;
        apt::remove(&packed)
    }

    /// Domain-0's initramfs, which starts these domains.
    pub(super) fn initramfs(&self, bed: Bed<'_>, guests: &[Guest]) -> Outcome<Vec<u8>> {
        let mut archive = Writer::new();
        FOLDERS.iter().for_each(|name| archive.directory(name));
        archive.character_device("dev/console", 5, 1);
        archive.character_device("dev/null", 1, 3);
        let debian = bed.board.debian(bed.images);
        archive.program("bin/busybox", &read(&debian.join("root/bin/busybox"))?);
        archive.link("bin/sh", "busybox");
        archive.program("init", INIT.as_bytes());
        archive.file("etc/xen/xl.conf", b"autoballoon=\"off\"\n");
        initramfs::add_marks(&mut archive, bed.board);
        initramfs::add_modules(&mut archive, &self.root.join("lib/modules"), &MODULES)?;
        self.add_programs(&mut archive)?;
        for name in [bed.board.kernel(), "initrd.gz"] {
            archive.file(&format!("domains/{name}"), &read(&debian.join(name))?);
        }
        let mut order = String::new();
        for guest in guests {
            let name = guest.name;
            archive.file(&format!("domains/{name}.cfg"), guest.config().as_bytes());
            order.push_str(&format!("{name} {}\n", guest.seconds));
            if guest.linux.is_none() {
                let kernel = bed.board.guest(bed.images, name);
                archive.file(&format!("domains/{name}"), &read(&kernel)?);
            }
        }
        archive.file("domains/order", order.as_bytes());
        Ok(archive.finish())
    }

    /// The programs where they expect each other, and the libraries that they need.
    fn add_programs(&self, archive: &mut Writer) -> Outcome {
        let files = Files(initramfs::files_under(&self.root)?);
        let mut wanted = vec![UNWINDER.to_owned(), LOADER.1.to_owned()];
        for name in PROGRAMS {
            let (path, content) = files.find(name)?;
            let place = path.strip_prefix(&self.root).unwrap_or(path);
            add_folders(archive, place);
            archive.program(&place.to_string_lossy(), &content);
            wanted.extend(needed(&content));
        }
        files.add_libraries(archive, wanted)
    }
}

/// The folders above a file; one that is there already stays as it is.
fn add_folders(archive: &mut Writer, file: &Path) {
    let above: Vec<_> = file.ancestors().skip(1).collect();
    let above = above.iter().rev().map(|folder| folder.to_string_lossy());
    above
        .filter(|folder| !folder.is_empty())
        .for_each(|folder| archive.directory(&folder));
}

/// What Debian's packages brought.
struct Files(Vec<PathBuf>);

impl Files {
    /// A program or library, by its name.
    fn find(&self, name: &str) -> Outcome<(&Path, Vec<u8>)> {
        let named = self
            .0
            .iter()
            .filter(|path| path.file_name().is_some_and(|file| file == name));
        for path in named {
            let content = read(path)?;
            if content.starts_with(b"\x7fELF") {
                return Ok((path, content));
            }
        }
        Err(Failure::new(format!("Debian's packages have no {name}")))
    }

    /// Adds libraries and what they need in turn.
    fn add_libraries(&self, archive: &mut Writer, mut wanted: Vec<String>) -> Outcome {
        let mut there: Vec<String> = Vec::new();
        while let Some(name) = wanted.pop() {
            if there.contains(&name) {
                continue;
            }
            let (_, content) = self.find(&name)?;
            let folder = if name == LOADER.1 {
                LOADER.0
            } else {
                LIBRARIES
            };
            archive.program(&format!("{folder}/{name}"), &content);
            wanted.extend(needed(&content));
            there.push(name);
        }
        Ok(())
    }
}

/// The packages that a package depends on, as apt-cache prints them.
fn needs(depends: &str) -> impl Iterator<Item = &str> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
}

/// All libraries that packages depend on, directly or not.
fn add_libraries(apt: &Apt, names: &mut Vec<String>) -> Outcome {
    let mut next = 0;
    while let Some(name) = names.get(next).cloned() {
        next += 1;
        if name.starts_with("linux-image") {
            continue;
        }
        for library in needs(&apt.depends(&name)?).filter(|name| is_library(name)) {
            if !names.iter().any(|name| name == library) {
                names.push(library.to_owned());
            }
        }
    }
    Ok(())
}

fn is_library(package: &str) -> bool {
    package.starts_with("lib") || package.starts_with("zlib")
}

/// The libraries that a program or library names.
fn needed(file: &[u8]) -> Vec<String> {
    let find = || {
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).ok()?;
        let common = elf.find_common_data().ok()?;
        let (dynamic, names) = (common.dynamic?, common.dynsyms_strs?);
        let names = dynamic
            .iter()
            .filter(|entry| entry.d_tag == DT_NEEDED)
            .filter_map(|entry| names.get(entry.d_val() as usize).ok());
        Some(names.map(str::to_owned).collect())
    };
    find().unwrap_or_default()
}

fn unpacked(command: &mut Command, to: &Path) -> Outcome {
    let content = command::bytes(command)?;
    fs::write(to, content).map_err(Failure::file(to))
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(Failure::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_package_needs_is_read() {
        let depends = "xen-utils-4.17\n  Depends: libc6\n |Depends: <python3:any>\n  Depends: xen-utils-common\n";
        let found: Vec<_> = needs(depends).collect();
        assert_eq!(found, ["libc6", "xen-utils-common"]);
    }

    #[test]
    fn a_domain_is_described_for_xl() {
        let guest = Guest {
            name: "bench",
            seconds: 1,
            vcpus: 2,
            memory_mib: 16,
            linux: None,
        };
        let config = guest.config();
        assert!(
            config.contains("type=\"pvh\"\nmemory=16\nvcpus=2\n"),
            "{config}"
        );
        assert!(config.ends_with("kernel=\"/domains/bench\"\n"), "{config}");
    }
}
