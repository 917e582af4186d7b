//! A board as a command line of QEMU. What Bochs wants instead is in [`crate::bochs`].
//!
//! What is fixed here was measured, not guessed: ARM's CPU model avoids workaround traffic that no comparison wants,
//! more than one CPU runs on one emulator thread (parallel ones lose time to locks, and results differ from run to
//! run), and the management port is a virtconsole on a socket.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::board::Board;
use crate::{kvm, process};

/// Memory of a machine in MiB; Bochs takes all of it from this machine at once.
const MEMORY_MIB: u32 = 1024;
const MEMORY_BOCHS_MIB: u32 = 512;

/// Where a machine's serial line goes.
#[derive(Debug, Clone, Copy)]
pub enum Serial<'a> {
    /// To the terminal, both ways; Ctrl-A X ends the emulator.
    Terminal,
    /// Appended to a file.
    File(&'a Path),
}

/// A disk with raw content: a virtio block device, whose flushes are real.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    source: Source,
    is_write_protected: bool,
}

/// Where its content is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    /// With an NBD server behind this socket.
    Nbd(PathBuf),
}

impl Disk {
    /// One whose content is this file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::File(path.into()),
            is_write_protected: false,
        }
    }

    /// One whose content an NBD server has that listens on this socket.
    pub fn nbd(socket: impl Into<PathBuf>) -> Self {
        Self {
            source: Source::Nbd(socket.into()),
            is_write_protected: false,
        }
    }

    /// The same, but it takes no writes.
    #[must_use]
    pub fn write_protected(self) -> Self {
        Self {
            is_write_protected: true,
            ..self
        }
    }

    /// The file or socket that has to be there.
    #[must_use]
    pub fn path(&self) -> &PathBuf {
        match &self.source {
            Source::File(path) | Source::Nbd(path) => path,
        }
    }

    /// What QEMU's `-drive` wants. With `cache=writeback` the device has a cache, and a flush of it is an `fsync`.
    fn drive(&self) -> OsString {
        let protected = if self.is_write_protected { "on" } else { "off" };
        let scheme = match self.source {
            Source::File(_) => "",
            Source::Nbd(_) => "nbd:unix:",
        };
        let drive = format!(
            "if=none,id=disk,format=raw,cache=writeback,read-only={protected},file={scheme}"
        );
        joined(&drive, &without_commas(self.path()))
    }
}

/// A board and what it boots.
#[derive(Debug, Clone)]
pub struct Machine {
    /// The board.
    pub board: Board,
    /// Its CPU model.
    pub cpu: &'static str,
    /// What the board boots: a Linux Image on ARM, an ELF file with a PVH note on x86.
    pub kernel: PathBuf,
    /// The boot bundle, or a Linux kernel's initramfs.
    pub initrd: Option<PathBuf>,
    /// The boot command line.
    pub options: String,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// CPUs.
    pub cpus: u32,
    /// Version of the interrupt controller (ARM).
    pub gic: u8,
    /// Whether the CPUs have EL2, and the kernel starts there (ARM).
    pub virtualization: bool,
    /// Its disk (QEMU).
    pub disk: Option<Disk>,
    /// Counts instructions instead of time: every run takes exactly the same steps. For one CPU only.
    pub deterministic: bool,
    /// Further arguments, as they are.
    pub extra: Vec<OsString>,
}

impl Machine {
    /// A board with our hypervisor: one CPU, GICv3.
    pub fn new(board: Board, hypervisor: impl Into<PathBuf>, bundle: impl Into<PathBuf>) -> Self {
        Self {
            board,
            cpu: board.cpus().first().copied().unwrap_or_default(),
            kernel: hypervisor.into(),
            initrd: Some(bundle.into()),
            options: String::new(),
            memory_mib: match board {
                Board::BochsPc => MEMORY_BOCHS_MIB,
                Board::QemuVirt | Board::QemuQ35 => MEMORY_MIB,
            },
            cpus: 1,
            gic: 3,
            virtualization: true,
            disk: None,
            deterministic: false,
            extra: Vec::new(),
        }
    }

    /// QEMU's `virt` board with our hypervisor.
    pub fn qemu_virt(hypervisor: impl Into<PathBuf>, bundle: impl Into<PathBuf>) -> Self {
        Self::new(Board::QemuVirt, hypervisor, bundle)
    }

    /// The board with a Linux kernel on it and no hypervisor, its console on the serial line: the yardstick.
    pub fn native_linux(
        board: Board,
        kernel: impl Into<PathBuf>,
        initrd: impl Into<PathBuf>,
    ) -> Self {
        let mut machine = Self::new(board, kernel, initrd);
        machine.options = match board {
            Board::QemuVirt => "console=ttyAMA0".to_owned(),
            Board::QemuQ35 | Board::BochsPc => "console=ttyS0".to_owned(),
        };
        machine.virtualization = false;
        machine.memory_mib = 512;
        machine
    }

    /// Where `xenman serve` finds the management port that was asked for at this path.
    #[must_use]
    pub fn link_address(&self, path: &Path) -> OsString {
        joined(
            match self.board {
                Board::QemuVirt | Board::QemuQ35 => "unix:",
                Board::BochsPc => "serial:",
            },
            path,
        )
    }

    /// The command that starts this machine in QEMU; `link` is the socket that the management port listens on.
    #[must_use]
    pub fn command(&self, serial: Serial<'_>, link: Option<&Path>) -> Command {
        let mut command = process::bound(self.board.emulator());
        command.args(["-M", &self.machine_type(), "-cpu", self.cpu]);
        command.args([
            "-m",
            &self.memory_mib.to_string(),
            "-smp",
            &self.cpus.to_string(),
        ]);
        command.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        self.add_timing(&mut command);
        command.arg("-serial").arg(serial_argument(serial));
        command.arg("-kernel").arg(&self.kernel);
        if let Some(initrd) = &self.initrd {
            command.arg("-initrd").arg(initrd);
        }
        command.args(["-append", &self.options]);
        if self.board == Board::QemuVirt {
            command.args(["-global", "virtio-mmio.force-legacy=false"]);
        }
        if let Some(link) = link {
            self.add_link(&mut command, link);
        }
        if let Some(disk) = &self.disk {
            self.add_disk(&mut command, disk);
        }
        command.args(&self.extra);
        command
    }

    /// The command that writes the device tree which this machine gives its kernel, and ends.
    #[must_use]
    pub fn dump_device_tree(&self, to: &Path) -> Command {
        let mut command = process::bound(self.board.emulator());
        let machine = format!("{},dumpdtb={}", self.machine_type(), to.display());
        command.args([
            "-M",
            &machine,
            "-cpu",
            self.cpu,
            "-nodefaults",
            "-display",
            "none",
        ]);
        command.args([
            "-m",
            &self.memory_mib.to_string(),
            "-smp",
            &self.cpus.to_string(),
        ]);
        self.add_timing(&mut command);
        command
    }

    fn machine_type(&self) -> String {
        if self.board == Board::QemuQ35 {
            return "q35".to_owned();
        }
        let virtualization = if self.virtualization { "on" } else { "off" };
        format!(
            "virt,virtualization={virtualization},gic-version={}",
            self.gic
        )
    }

    fn add_timing(&self, command: &mut Command) {
        if self.deterministic {
            // The seed is also what the random numbers in the device tree are made from.
            command.args(["-icount", "shift=0,sleep=off", "-seed", "1"]);
            command.args(["-rtc", "base=2026-01-01T00:00:00,clock=vm"]);
        } else if self.cpu == kvm::CPU {
            command.args(["-accel", "kvm"]);
        } else if self.cpus > 1 || self.board == Board::QemuQ35 {
            // Parallel threads lose interrupts of the local APIC while their CPU is in a guest (QEMU 7.2).
            command.args(["-accel", "tcg,thread=single"]);
        }
    }

    fn add_link(&self, command: &mut Command, socket: &Path) {
        let socket = without_commas(socket);
        let chardev = joined("socket,id=link,server=on,wait=off,path=", &socket);
        command.arg("-chardev").arg(chardev);
        let bus = if self.board == Board::QemuVirt {
            "virtio-serial-device"
        } else {
            "virtio-serial-pci,disable-legacy=on"
        };
        command.args(["-device", bus, "-device", "virtconsole,chardev=link"]);
    }

    fn add_disk(&self, command: &mut Command, disk: &Disk) {
        command.arg("-drive").arg(disk.drive());
        let device = if self.board == Board::QemuVirt {
            "virtio-blk-device,drive=disk"
        } else {
            "virtio-blk-pci,disable-legacy=on,drive=disk"
        };
        command.args(["-device", device]);
    }
}

fn serial_argument(serial: Serial<'_>) -> OsString {
    match serial {
        Serial::Terminal => "mon:stdio".into(),
        Serial::File(path) => joined("file:", path),
    }
}

/// A path within an argument that a comma would end; QEMU's escape is to double it.
fn without_commas(path: &Path) -> PathBuf {
    match path.to_str() {
        Some(text) => text.replace(',', ",,").into(),
        None => path.to_owned(),
    }
}

fn joined(prefix: &str, path: &Path) -> OsString {
    let mut argument = OsString::from(prefix);
    argument.push(path);
    argument
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &Machine) -> String {
        let command = machine.command(Serial::File(Path::new("/s.log")), Some(Path::new("/l,1")));
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        words.join(" ")
    }

    #[test]
    fn the_board_has_el2_the_bundle_and_the_link() {
        let line = line(&Machine::qemu_virt("/hv", "/bundle"));
        assert!(line.contains("-M virt,virtualization=on,gic-version=3 "));
        assert!(line.contains("-kernel /hv -initrd /bundle"));
        assert!(line.contains("-serial file:/s.log"));
        assert!(line.contains("path=/l,,1 "));
        assert!(line.contains("-device virtconsole,chardev=link"));
        assert!(!line.contains("-accel") && !line.contains("-icount"));
    }

    #[test]
    fn the_pc_has_svm_the_bundle_and_the_link() {
        let line = line(&Machine::new(Board::QemuQ35, "/hv", "/bundle"));
        assert!(line.contains("-M q35 -cpu max "));
        assert!(line.contains("-accel tcg,thread=single "));
        assert!(line.contains("-kernel /hv -initrd /bundle"));
        assert!(line.contains("-device virtio-serial-pci,disable-legacy=on "));
    }

    #[test]
    fn the_cpu_of_the_machine_we_run_on_is_used_by_kvm() {
        let mut machine = Machine::new(Board::QemuQ35, "/hv", "/bundle");
        machine.cpu = kvm::CPU;
        let line = line(&machine);
        assert!(line.contains("-M q35 -cpu host ") && line.contains("-accel kvm "));
        assert!(!line.contains("tcg"));
    }

    #[test]
    fn a_disk_is_raw_and_flushed() {
        let mut machine = Machine::qemu_virt("/hv", "/bundle");
        machine.disk = Some(Disk::file("/d,1").write_protected());
        let drive = "-drive if=none,id=disk,format=raw,cache=writeback,read-only=on,file=/d,,1 ";
        assert!(line(&machine).contains(drive));
        assert!(line(&machine).contains("-device virtio-blk-device,drive=disk"));
        machine.board = Board::QemuQ35;
        machine.disk = Some(Disk::nbd("/nbd.sock"));
        assert!(line(&machine).contains("read-only=off,file=nbd:unix:/nbd.sock "));
        assert!(line(&machine).contains("-device virtio-blk-pci,disable-legacy=on,drive=disk"));
    }

    #[test]
    fn several_cpus_share_one_emulator_thread() {
        let mut machine = Machine::qemu_virt("/hv", "/bundle");
        machine.cpus = 2;
        assert!(line(&machine).contains("-smp 2 ") && line(&machine).contains("thread=single"));
    }

    #[test]
    fn a_deterministic_machine_counts_instructions_from_a_fixed_start() {
        let mut machine = Machine::qemu_virt("/hv", "/bundle");
        machine.deterministic = true;
        let line = line(&machine);
        assert!(line.contains("-seed 1 ") && line.contains("-icount shift=0"));
        assert!(line.contains("-rtc base="));
    }
}
