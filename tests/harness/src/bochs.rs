//! A board as Bochs wants it: a medium that GRUB boots from, a configuration file, and a terminal for the link.
//!
//! Nothing large crosses the serial line, which moves 11.5 KB in a second of the machine's time: the bundle is a module
//! that GRUB loads. That time is kept from running ahead of ours (`sync=slowdown`), or an idle machine would be past
//! every time-out of the link before `xenman` can say a word. It may fall behind, and does not catch up.
//!
//! A deterministic machine knows nothing of our time: an instruction is a tick of its TSC, and takes a nanosecond of its
//! time.
//!
//! Bochs opens a terminal by name, and so does `xenman`; so there are two, and what comes out of one goes into the other.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serialport::{SerialPort, TTYPort};
use tempfile::TempDir;

use crate::emulator::Error;
use crate::machine::Machine;
use crate::process;

/// A program (or a file, by its path) and Debian's package that has it.
#[derive(Debug)]
pub struct Tool {
    /// Its name, or where it is.
    pub program: &'static str,
    /// The package.
    pub package: &'static str,
}

const BIOS: &str = "/usr/share/bochs/BIOS-bochs-latest";
const VIDEO_BIOS: &str = "/usr/share/bochs/VGABIOS-lgpl-latest";
const GRUB: &str = "/usr/lib/grub/i386-pc";

/// Everything that a machine in Bochs takes.
pub const TOOLS: [Tool; 7] = [
    Tool::new("bochs-bin", "bochs"),
    Tool::new(BIOS, "bochsbios"),
    Tool::new(VIDEO_BIOS, "vgabios"),
    Tool::new("/usr/lib/grub/i386-pc/multiboot2.mod", "grub-pc-bin"),
    Tool::new("grub-mkrescue", "grub-common"),
    Tool::new("xorriso", "xorriso"),
    Tool::new("mformat", "mtools"),
];

impl Tool {
    /// A program, and the package that has it.
    #[must_use]
    pub const fn new(program: &'static str, package: &'static str) -> Self {
        Self { program, package }
    }

    /// Whether it is there.
    #[must_use]
    pub fn is_there(&self) -> bool {
        match self.program.starts_with('/') {
            true => Path::new(self.program).exists(),
            false => process::which(self.program),
        }
    }
}

/// What GRUB needs to load us; without the list it brings everything.
const GRUB_MODULES: &str = "normal multiboot2 iso9660 biosdisk serial terminal boot";
/// Instructions in a second of the machine's time: about as many as Bochs executes in one of ours.
const INSTRUCTIONS_PER_SECOND: u32 = 50_000_000;
/// The same where time is counted in them.
const DETERMINISTIC_PER_SECOND: u32 = 1_000_000_000;
/// When such a machine starts: 2026-01-01.
const DETERMINISTIC_START: &str = "1767225600";
/// How long making the medium may take.
const MAKING: Duration = Duration::from_secs(120);
/// Bytes that are passed on at once: what a terminal has room for where it says that it has any.
const CHUNK: usize = 256;

/// The files of a machine, and its terminals.
pub struct Bochs {
    folder: TempDir,
    _wire: Option<Wire>,
}

impl Bochs {
    /// Makes everything that `machine` needs: its serial line goes to the file `log`; `link` becomes the name of the
    /// terminal that leads to its management port.
    pub fn prepare(machine: &Machine, log: &Path, link: Option<&Path>) -> Result<Self, Error> {
        if let Some(missing) = TOOLS.iter().find(|tool| !tool.is_there()) {
            return Err(Error::Tool(missing));
        }
        let folder = tempfile::Builder::new().prefix("alcove-bochs-").tempdir();
        let folder = folder.map_err(|error| Error::Log(std::env::temp_dir(), error))?;
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).map_err(|error| Error::Log(path, error))
        };
        let medium = medium(folder.path());
        write("grub.cfg", &boot_script(machine))?;
        make_medium(machine, folder.path(), &medium)?;
        let wire = match link {
            Some(link) => {
                let wire = Wire::lay(link, medium.clone());
                Some(wire.map_err(|error| Error::Log(link.to_owned(), error))?)
            }
            None => None,
        };
        let terminal = wire.as_ref().map(|wire| wire.machine_end.as_str());
        write(
            "bochsrc",
            &configuration(machine, folder.path(), log, terminal),
        )?;
        // Debian's Bochs has the debugger in it, which is to continue, and to end when that ends.
        write("debugger", "c\nq\n")?;
        Ok(Self {
            folder,
            _wire: wire,
        })
    }

    /// The command that starts the machine.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = process::bound(TOOLS[0].program);
        let file = |name: &str| self.folder.path().join(name);
        command.args(["-q", "-f"]).arg(file("bochsrc"));
        command.arg("-rc").arg(file("debugger"));
        command.stdin(Stdio::null());
        // A file that cannot be made costs no more than what would be in it.
        let output = File::create(file("output")).map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdout(output).stderr(Stdio::null());
        command
    }

    /// What Bochs complains about.
    #[must_use]
    pub fn complaint(&self) -> String {
        let text = |name: &str| {
            let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        complaints(&(text("output") + &text("bochs.log")))
    }
}

/// The last panics in Bochs' log, a line `00000000000p[NAME  ] TEXT` each. Its errors are of a BIOS that looks for hardware.
fn complaints(log: &str) -> String {
    let is_complaint = |line: &&str| {
        let kind = line.trim_start_matches(|c: char| c.is_ascii_digit());
        kind.len() < line.len() && (kind.starts_with("p[") || kind.starts_with(">>PANIC<<"))
    };
    let lines: Vec<_> = log.lines().filter(is_complaint).collect();
    let shown = lines.get(lines.len().saturating_sub(5)..);
    let shown = shown.unwrap_or_default().iter();
    shown.map(|line| format!("\nBochs: {line}")).collect()
}

fn medium(folder: &Path) -> PathBuf {
    folder.join("boot.iso")
}

/// GRUB's script. A word of the command line may have a meaning to GRUB, but for the quotes.
fn boot_script(machine: &Machine) -> String {
    let words = machine.options.split_whitespace();
    let options: String = words
        .map(|word| format!(" '{}'", word.replace('\'', r"'\''")))
        .collect();
    let module = machine.initrd.as_ref().map(|_| "module2 /boot/bundle\n");
    format!(
        "serial --unit=0 --speed=115200\nterminal_output serial\nset timeout=0\n\
         multiboot2 /boot/hypervisor{options}\n{}boot\n",
        module.unwrap_or_default()
    )
}

fn make_medium(machine: &Machine, folder: &Path, medium: &Path) -> Result<(), Error> {
    const DOING: &str = "making the medium that Bochs boots from";
    let mut command = process::bound("grub-mkrescue");
    command.args(["-d", GRUB, "--locales=", "--fonts=", "--themes="]);
    command.arg(format!("--install-modules={GRUB_MODULES}"));
    command.arg("-o").arg(medium);
    // Taken from where they are, under these names.
    let mut graft = |name: &str, file: &Path| {
        let mut argument = std::ffi::OsString::from(name);
        argument.push("=");
        argument.push(file);
        command.arg(argument);
    };
    graft("/boot/grub/grub.cfg", &folder.join("grub.cfg"));
    graft("/boot/hypervisor", &machine.kernel);
    if let Some(bundle) = &machine.initrd {
        graft("/boot/bundle", bundle);
    }
    let made = process::run(command, MAKING);
    let made = made.map_err(|error| Error::Bochs(DOING, error.to_string()))?;
    match made.success() {
        true => Ok(()),
        false => Err(Error::Bochs(DOING, made.stderr)),
    }
}

fn configuration(machine: &Machine, folder: &Path, log: &Path, link: Option<&str>) -> String {
    let (cpu, cpus, memory) = (machine.cpu, machine.cpus, machine.memory_mib);
    let (medium, log) = (medium(folder), log.display());
    let (medium, own_log) = (medium.display(), folder.join("bochs.log"));
    let own_log = own_log.display();
    let link = link.map(|terminal| format!("com2: enabled=1, mode=term, dev={terminal}\n"));
    let link = link.unwrap_or_default();
    let (ips, sync, start) = match machine.deterministic {
        true => (DETERMINISTIC_PER_SECOND, "none", DETERMINISTIC_START),
        false => (INSTRUCTIONS_PER_SECOND, "slowdown", "utc"),
    };
    // Of the displays in Debian's package, `rfb` is the one that needs neither a screen nor a client.
    format!(
        "config_interface: textconfig\n\
         display_library: rfb, options=\"timeout=0\"\n\
         plugin_ctrl: unmapped=true, biosdev=true, speaker=false, extfpuirq=true, parallel=true, serial=true, e1000=false\n\
         cpu: model={cpu}, count={cpus}, ips={ips}, reset_on_triple_fault=0, ignore_bad_msrs=1\n\
         memory: guest={memory}, host={memory}\n\
         romimage: file={BIOS}\n\
         vgaromimage: file={VIDEO_BIOS}\n\
         pci: enabled=1, chipset=i440fx\n\
         ata0: enabled=true, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
         ata0-master: type=cdrom, path=\"{medium}\", status=inserted\n\
         boot: cdrom\n\
         com1: enabled=1, mode=file, dev=\"{log}\"\n\
         {link}\
         clock: sync={sync}, time0={start}\n\
         log: \"{own_log}\"\n\
         panic: action=fatal\n\
         error: action=report\n\
         info: action=ignore\n\
         mouse: enabled=0\n\
         sound: waveoutdrv=dummy\n\
         speaker: enabled=0\n"
    )
}

/// Bochs' version as it names itself.
pub(crate) fn version() -> String {
    let mut command = Command::new(TOOLS[0].program);
    // There is no option that only prints it; it comes before the complaint about the file.
    command.args(["-q", "-f", "/nonexistent"]);
    let output = process::run(command, Duration::from_secs(20));
    let text = output.map(|output| output.stdout).unwrap_or_default();
    let line = text.lines().find(|line| line.contains("Bochs x86"));
    line.unwrap_or("unknown version of Bochs").trim().to_owned()
}

/// Two terminals and the threads between them.
struct Wire {
    /// The terminal that is Bochs'.
    machine_end: String,
    stop: Arc<AtomicBool>,
    /// Held open, so that what is sent to a terminal before anybody opens it waits there.
    _ends: [TTYPort; 2],
}

impl Wire {
    /// Makes `link` a name for one terminal. The medium is removed when the first byte comes from Domain-0, which was
    /// on it: Bochs has it open, and nothing is left behind when we are killed.
    fn lay(link: &Path, medium: PathBuf) -> io::Result<Self> {
        let (machine, machine_end) = TTYPort::pair()?;
        let (operator, operator_end) = TTYPort::pair()?;
        let name = |end: &TTYPort| end.name().ok_or(io::ErrorKind::NotFound);
        std::os::unix::fs::symlink(name(&operator_end)?, link)?;
        let stop = Arc::new(AtomicBool::new(false));
        let copy = |from: &TTYPort, to: &TTYPort, medium: Option<PathBuf>| -> io::Result<()> {
            let (from, to) = (from.try_clone_native()?, to.try_clone_native()?);
            let stop = Arc::clone(&stop);
            thread::spawn(move || carry(from, to, &stop, medium));
            Ok(())
        };
        copy(&machine, &operator, Some(medium))?;
        copy(&operator, &machine, None)?;
        Ok(Self {
            machine_end: name(&machine_end)?,
            stop,
            _ends: [machine_end, operator_end],
        })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Passes bytes on until told to stop.
fn carry(mut from: TTYPort, mut to: TTYPort, stop: &AtomicBool, mut medium: Option<PathBuf>) {
    let mut buffer = [0; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        let Ok(count) = from.read(&mut buffer) else {
            // Nothing came for a moment.
            continue;
        };
        if let Some(medium) = medium.take() {
            // It is removed with its folder otherwise.
            let _ = fs::remove_file(medium);
        }
        let mut rest = buffer.get(..count).unwrap_or_default();
        while !rest.is_empty() && !stop.load(Ordering::Relaxed) {
            // An error is a reader that takes its time.
            let written = to.write(rest).unwrap_or(0);
            rest = rest.get(written..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;

    fn machine() -> Machine {
        let mut machine = Machine::new(Board::BochsPc, "/hv", "/bundle");
        machine.cpus = 2;
        machine.options = "loglvl=debug a;b it's".to_owned();
        machine
    }

    #[test]
    fn the_configuration_has_the_machine_and_the_link() {
        let text = configuration(
            &machine(),
            Path::new("/f"),
            Path::new("/s.log"),
            Some("/dev/pts/7"),
        );
        assert!(text.contains("cpu: model=corei7_skylake_x, count=2, "));
        assert!(text.contains("memory: guest=512, host=512\n"));
        assert!(text.contains("path=\"/f/boot.iso\""));
        assert!(text.contains("com1: enabled=1, mode=file, dev=\"/s.log\"\n"));
        assert!(text.contains("com2: enabled=1, mode=term, dev=/dev/pts/7\n"));
        assert!(text.lines().all(|line| line.trim_start() == line));
    }

    #[test]
    fn a_deterministic_machine_does_not_wait_for_our_time() {
        let text = |deterministic| {
            let mut machine = machine();
            machine.deterministic = deterministic;
            configuration(&machine, Path::new("/f"), Path::new("/s.log"), None)
        };
        assert!(text(false).contains("clock: sync=slowdown, time0=utc\n"));
        assert!(text(true).contains("clock: sync=none, time0=1767225600\n"));
        assert!(text(true).contains(", ips=1000000000, "));
    }

    #[test]
    fn the_hypervisor_gets_its_options_as_they_are() {
        let script = boot_script(&machine());
        assert!(script.contains(r"multiboot2 /boot/hypervisor 'loglvl=debug' 'a;b' 'it'\''s'"));
        assert!(script.contains("\nmodule2 /boot/bundle\n"));
    }

    #[test]
    fn only_panics_are_shown() {
        let log = "00000000000i[      ] no\n00000000000p[CPU0  ] >>PANIC<< yes\nand so on";
        assert_eq!(
            complaints(log),
            "\nBochs: 00000000000p[CPU0  ] >>PANIC<< yes"
        );
    }

    #[test]
    fn the_wire_carries_both_ways_whatever_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (link, medium) = (dir.path().join("link"), dir.path().join("medium"));
        fs::write(&medium, "").unwrap();
        let wire = Wire::lay(&link, medium.clone()).unwrap();
        let open = |path: &str| {
            let port = serialport::new(path, 115_200).timeout(Duration::from_secs(10));
            port.open().unwrap()
        };
        let mut machine = open(&wire.machine_end);
        let mut operator = open(&link.to_string_lossy());
        let bytes: Vec<u8> = (0..=255).collect();
        let mut heard = [0; 256];
        operator.write_all(&bytes).unwrap();
        machine.read_exact(&mut heard).unwrap();
        assert_eq!(heard[..], bytes);
        assert!(medium.exists());
        machine.write_all(&bytes).unwrap();
        operator.read_exact(&mut heard).unwrap();
        assert_eq!(heard[..], bytes);
        assert!(!medium.exists());
    }
}
