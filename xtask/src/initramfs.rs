//! The Debian guest's initramfs: busybox, front-end modules, and a first process that the tests can talk to.
//!
//! In the guest, `counter` prints `COUNTER n` with an n that grows by one a second, and `poweroff`, `reboot` and
//! `halt` do so at once, for people as for the kernel (which calls `/sbin/poweroff` and `/sbin/reboot` when the
//! host asks for a shutdown).

use std::fs;
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc};
use harness::board::Board;
use harness::cpio::Writer;

use crate::Outcome;
use crate::failure::Failure;

const INIT: &str = include_str!("../guest/init");
/// The shell would prefer busybox's own poweroff, which asks an init daemon; functions come before those.
const PROFILE: &str = "\
export PS1='guest# '
poweroff() { /sbin/poweroff; }
reboot() { /sbin/reboot; }
halt() { /sbin/halt; }
";
const COUNTER: &str =
    "#!/bin/sh\nwhile :; do read -r n </run/counter && echo \"COUNTER $n\" && exit; done\n";

/// Programs that do nothing but execute one instruction that has no effect and that nothing else uses; whoever counts
/// instructions looks for it (xtask/plugin): on ARM an instruction, on x86 the displacement of a NOP.
const MARKS: [(&str, u32, u32); 3] = [
    ("up", 0xAA1B_037B, 0x4D41_5201),
    ("begin", 0xAA1A_035A, 0x4D41_5202),
    ("end", 0xAA19_0339, 0x4D41_5203),
];

const FOLDERS: [&str; 15] = [
    "bin",
    "sbin",
    "usr",
    "usr/bin",
    "usr/sbin",
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "root",
    "etc",
    "lib",
    "lib/modules",
    "lib/marks",
];
/// Debian's kernel has the Xen front-ends for disk and network as modules.
const MODULES: [&str; 2] = ["xen-blkfront", "xen-netfront"];

const COMPRESSION: u8 = 6;

/// The compressed archive for the packages unpacked under `root`.
pub(crate) fn make(board: Board, root: &Path) -> Outcome<Vec<u8>> {
    let mut archive = Writer::new();
    for folder in FOLDERS {
        archive.directory(folder);
    }
    archive.character_device("dev/console", 5, 1);
    archive.character_device("dev/null", 1, 3);
    archive.program("bin/busybox", &read(&root.join("bin/busybox"))?);
    archive.link("bin/sh", "busybox");
    archive.program("init", INIT.as_bytes());
    archive.program("bin/counter", COUNTER.as_bytes());
    for verb in ["poweroff", "reboot", "halt"] {
        let script = format!("#!/bin/sh\nexec /bin/busybox {verb} -f\n");
        archive.program(&format!("sbin/{verb}"), script.as_bytes());
    }
    add_marks(&mut archive, board);
    archive.file("etc/profile", PROFILE.as_bytes());
    add_modules(&mut archive, &root.join("lib/modules"), &MODULES)?;
    Ok(gzip(&archive.finish()))
}

/// Adds the marks as programs, in `lib/marks`.
pub(crate) fn add_marks(archive: &mut Writer, board: Board) {
    for (name, arm, x86) in MARKS {
        let program = match board {
            Board::QemuVirt => mark_arm(arm),
            Board::QemuQ35 | Board::BochsPc => mark_x86(x86),
        };
        archive.program(&format!("lib/marks/{name}"), &program);
    }
}

/// A program for arm64 Linux that executes an instruction and exits.
fn mark_arm(instruction: u32) -> Vec<u8> {
    const MACHINE: u16 = 183;
    // exit(0): mov x8, #93; mov x0, #0; svc #0.
    let code = [instruction, 0xD280_0BA8, 0xD280_0000, 0xD400_0001];
    program(MACHINE, &code.map(u32::to_le_bytes).concat())
}

/// The same for x86-64.
fn mark_x86(displacement: u32) -> Vec<u8> {
    const MACHINE: u16 = 62;
    // nop dword ptr [rax + displacement]; exit(0): mov eax, 60; xor edi, edi; syscall.
    let nop = [&[0x0F, 0x1F, 0x80][..], &displacement.to_le_bytes()].concat();
    let exit = [0xB8, 60, 0, 0, 0, 0x31, 0xFF, 0x0F, 0x05];
    program(MACHINE, &[&nop[..], &exit].concat())
}

/// A static ELF file with this code.
fn program(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x1_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let halves = |file: &mut Vec<u8>, values: &[u16]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    let words = |file: &mut Vec<u8>, values: &[u64]| {
        values
            .iter()
            .for_each(|value| file.extend(value.to_le_bytes()));
    };
    // An executable, version 1; entry, program headers at 64, no sections.
    halves(&mut file, &[2, machine, 1, 0]);
    words(&mut file, &[BASE + HEADERS, 64, 0]);
    halves(&mut file, &[0, 0, 64, 56, 1, 64, 0, 0]);
    // All of the file, readable and executable.
    halves(&mut file, &[1, 0, 5, 0]);
    words(&mut file, &[0, BASE, BASE, size, size, 0x1000]);
    file.extend(code);
    file
}

/// Adds modules and what they depend on, in `lib/modules`, where `order` has them in the order to load them in.
pub(crate) fn add_modules(archive: &mut Writer, folder: &Path, modules: &[&str]) -> Outcome {
    let available = files_under(folder)?;
    let mut order = String::new();
    for name in load_order(&available, modules)? {
        let path = find_module(&available, &name)?;
        let file = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        archive.file(&format!("lib/modules/{file}"), &read(path)?);
        order.push_str(file);
        order.push('\n');
    }
    archive.file("lib/modules/order", order.as_bytes());
    Ok(())
}

/// The modules wanted and what they depend on, dependencies first.
fn load_order(available: &[PathBuf], modules: &[&str]) -> Outcome<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    let mut wanted: Vec<String> = modules.iter().rev().map(|&name| name.to_owned()).collect();
    while let Some(name) = wanted.last().cloned() {
        let content = read(find_module(available, &name)?)?;
        let next = dependencies(&content)
            .into_iter()
            .find(|name| !order.contains(name));
        match next {
            Some(dependency) if !wanted.contains(&dependency) => wanted.push(dependency),
            _ => {
                wanted.pop();
                if !order.contains(&name) {
                    order.push(name);
                }
            }
        }
    }
    Ok(order)
}

/// The `depends=` entry of a module's `.modinfo` section: names separated by commas, ended by a zero byte.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..]
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or_default();
    let names = String::from_utf8_lossy(value);
    names
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The file of a module; `-` and `_` are the same in module names.
fn find_module<'a>(available: &'a [PathBuf], name: &str) -> Outcome<&'a PathBuf> {
    let wanted = format!("{}.ko", name.replace('-', "_"));
    let matches = |path: &&PathBuf| {
        let file = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        file.replace('-', "_").starts_with(&wanted)
    };
    available
        .iter()
        .find(matches)
        .ok_or_else(|| Failure::new(format!("Debian's kernel package has no module {name}")))
}

/// All files under a folder; links to folders are not followed.
pub(crate) fn files_under(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Failure::file(&folder))? {
            let entry = entry.map_err(Failure::file(&folder))?;
            let kind = entry.file_type().map_err(Failure::file(&entry.path()))?;
            if kind.is_dir() {
                folders.push(entry.path())
            } else {
                files.push(entry.path())
            }
        }
    }
    Ok(files)
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(Failure::file(path))
}

/// RFC 1952, without name and time.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    file.extend(miniz_oxide::deflate::compress_to_vec(content, COMPRESSION));
    file.extend(
        Crc::<u32>::new(&CRC_32_ISO_HDLC)
            .checksum(content)
            .to_le_bytes(),
    );
    file.extend((content.len() as u32).to_le_bytes());
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(folder: &Path, name: &str, depends: &str) {
        let content = format!("\x7fELF\0license=GPL\0depends={depends}\0name=it\0");
        fs::write(folder.join(format!("{name}.ko")), content).unwrap();
    }

    #[test]
    fn dependencies_are_loaded_first_and_once() {
        let dir = tempfile::tempdir().unwrap();
        module(dir.path(), "xen-blkfront", "ring_buffer,base");
        module(dir.path(), "xen-netfront", "base");
        module(dir.path(), "ring-buffer", "base");
        module(dir.path(), "base", "");
        let order = load_order(&files_under(dir.path()).unwrap(), &MODULES).unwrap();
        assert_eq!(
            order,
            ["base", "ring_buffer", "xen-blkfront", "xen-netfront"]
        );
    }

    #[test]
    fn a_missing_module_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let failure = load_order(&files_under(dir.path()).unwrap(), &MODULES).unwrap_err();
        assert!(failure.to_string().contains("xen-blkfront"));
    }

    #[test]
    fn a_mark_is_an_elf_file_that_executes_its_instruction_first() {
        for (file, machine, first) in [
            (
                mark_arm(0xAA1B_037B),
                elf::abi::EM_AARCH64,
                [0x7B, 0x03, 0x1B, 0xAA],
            ),
            (
                mark_x86(0x4D41_5201),
                elf::abi::EM_X86_64,
                [0x0F, 0x1F, 0x80, 0x01],
            ),
        ] {
            let elf = elf::ElfBytes::<elf::endian::LittleEndian>::minimal_parse(&file).unwrap();
            assert_eq!(elf.ehdr.e_machine, machine);
            let segments = elf.segments().unwrap();
            let segment = segments.iter().next().unwrap();
            let entry = (elf.ehdr.e_entry - segment.p_vaddr) as usize;
            assert_eq!(file[entry..entry + 4], first);
            assert_eq!(segment.p_filesz, file.len() as u64);
        }
    }

    #[test]
    fn a_gzip_file_has_its_checksum_and_length() {
        let file = gzip(b"123456789");
        assert_eq!(file[..3], [0x1f, 0x8b, 8]);
        let end = file.len();
        assert_eq!(file[end - 8..end - 4], 0xcbf4_3926u32.to_le_bytes());
        assert_eq!(file[end - 4..], 9u32.to_le_bytes());
    }

    #[test]
    fn the_archive_has_what_the_kernel_looks_for() {
        let dir = tempfile::tempdir().unwrap();
        let modules = dir.path().join("lib/modules");
        fs::create_dir_all(&modules).unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/busybox"), "busybox").unwrap();
        module(&modules, "xen-blkfront", "");
        module(&modules, "xen-netfront", "");
        let file = make(Board::QemuVirt, dir.path()).unwrap();
        let archive = miniz_oxide::inflate::decompress_to_vec(&file[10..file.len() - 8]).unwrap();
        let members = harness::cpio::read(&archive).unwrap();
        let names: Vec<_> = members.iter().map(|member| member.name).collect();
        for name in [
            "init",
            "bin/busybox",
            "sbin/poweroff",
            "sbin/reboot",
            "dev/console",
        ] {
            assert!(names.contains(&name), "{name}");
        }
        let order = members
            .iter()
            .find(|member| member.name == "lib/modules/order")
            .unwrap();
        assert_eq!(order.content, b"xen-blkfront.ko\nxen-netfront.ko\n");
    }
}
