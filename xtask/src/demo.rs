//! `cargo xtask demo`: the main job, unattended, told as it happens.

mod bochs;
mod kept;
mod together;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use argh::FromArgs;
use harness::board::Board;
use harness::bundle::Bundle;
use harness::host::Host;
use harness::images::Images;
use harness::operator::{Console, Operator, Trouble, wait};

use crate::failure::Failure;
use crate::{Outcome, build, bundle, guest, packages};

/// The machine is ended after this, whatever it does.
const LIMIT: Duration = Duration::from_secs(900);
/// From `create` to a shell.
const BOOT: Duration = Duration::from_secs(240);
const SAVING: Duration = Duration::from_secs(180);
const SOON: Duration = Duration::from_secs(60);
/// How long the domain is nothing but a file: long enough for its clock to show if it ran on.
const ON_FILE: Duration = Duration::from_secs(5);
const DOMAIN: &str = "debian";
/// Of Debian's files beside the kernel, and in the boot bundle.
const RAMDISK: &str = "initrd.gz";

/// Create, inspect, save, restore and stop a real Linux domain, and say what happens.
#[derive(FromArgs)]
#[argh(subcommand, name = "demo")]
pub(crate) struct Demo {
    /// the board: qemu-virt (default), qemu-q35 or bochs-pc
    #[argh(option, default = "\"qemu-virt\".to_owned()", arg_name = "NAME")]
    board: String,

    /// the board's CPUs (default 1); with more, two domains with as many vCPUs run at once, too
    #[argh(option, default = "1", arg_name = "N")]
    cpus: u32,
}

impl Demo {
    pub(crate) fn run(self) -> Outcome {
        let board = Board::named(&self.board).map_err(Failure::new)?;
        packages::need(&packages::emulator(board))?;
        title("build everything");
        let images = build::build()?;
        title("fetch Debian's kernel and busybox");
        guest::fetch(board)?;
        title("boot the board");
        let host = match board {
            Board::QemuVirt | Board::QemuQ35 => {
                boot(board, &images, &[board.kernel(), RAMDISK], self.cpus)
            }
            Board::BochsPc => bochs::boot(&images, self.cpus),
        }?;
        println!("xend answers at {}", host.address());
        let started = Instant::now();
        let outcome = match board {
            Board::QemuVirt | Board::QemuQ35 => perform(board, &host, self.cpus),
            Board::BochsPc => bochs::perform(&host),
        };
        outcome.inspect_err(|_| show_logs(&host))?;
        drop(host);
        if board != Board::BochsPc {
            kept::perform(board, &images, self.cpus)?;
        }
        let seconds = started.elapsed().as_secs();
        println!("\nEverything worked; since xend's first answer: {seconds} s.");
        Ok(())
    }
}

/// What the machine said and xend's log, for who has to find out why something failed.
fn show_logs(host: &Host) {
    host.emulator().keep_log("demo");
    if let Ok(log) = Operator::new(host).run(&["log"]) {
        eprintln!("xend's log:\n{log}");
    }
}

/// Boots the default machine with Domain-0 and these files of Debian's in its bundle.
fn boot(board: Board, images: &Images, debian: &[&str], cpus: u32) -> Outcome<Host> {
    let mut content = bundle::with_dom0(board, images, &[])?;
    for name in debian {
        content.add(name, &board.debian(images).join(name))?;
    }
    boot_with(board, images, &content, cpus)
}

fn boot_with(board: Board, images: &Images, content: &Bundle, cpus: u32) -> Outcome<Host> {
    let folder = tempfile::tempdir().map_err(Failure::file(&std::env::temp_dir()))?;
    let archive = folder.path().join("bundle.cpio");
    content.write(&archive)?;
    // The emulator has read the bundle by the time xend, which is in it, answers.
    let mut machine = board.machine(images, archive);
    machine.cpus = cpus;
    Ok(Host::boot(&machine, LIMIT)?)
}

fn perform(board: Board, host: &Host, cpus: u32) -> Outcome {
    let stage = Stage {
        operator: Operator::new(host),
    };
    step("look at the host", || stage.show(&["info"]))?;
    let free = step("note the free memory", || stage.operator.info("free_kib"))?;
    let file = host.folder().join("debian.cfg");
    let text = configuration(board);
    print!("\ndebian.cfg:\n{text}");
    fs::write(&file, text).map_err(Failure::file(&file))?;
    step("create the domain", || {
        stage.show(&["create", &file.to_string_lossy()])
    })?;
    step("reach userspace", || stage.reach_userspace())?;
    let before = step("answer typed commands", || stage.look_inside())?;
    step("list the domains", || stage.show(&["list"]))?;

    let saved = host.folder().join("debian.save");
    let saved = saved.to_string_lossy();
    step("save the domain while it runs", || stage.save(&saved))?;
    println!("(it stays a file for {} s)", ON_FILE.as_secs());
    thread::sleep(ON_FILE);
    step("restore the domain", || stage.show(&["restore", &saved]))?;
    let after = step("carry on where it was", || stage.count_on(&before))?;
    step("compare before and after", || before.carried_on(&after))?;

    step("reboot the domain", || stage.reboot(&after))?;
    step("shut the domain down", || stage.shut_down())?;
    if cpus > 1 {
        together::perform(board, &stage, host.folder(), cpus)?;
    }
    step("have all memory back", || {
        stage.operator.free_again(free, SOON)
    })?;
    step("look at the host again", || stage.show(&["info"]))
}

/// The kernel is in the boot bundle: a domain that was restored from a file is rebooted from what the host has.
fn configuration(board: Board) -> String {
    let kernel = board.kernel();
    format!(
        "name = \"{DOMAIN}\"\nmemory = 256\nvcpus = 1\nkernel = \"boot:{kernel}\"\nramdisk = \"boot:{RAMDISK}\"\nextra = \"console=hvc0\"\n"
    )
}

fn title(text: &str) {
    println!("\n== {text}");
}

/// Runs a step; its failure names it.
fn step<T>(name: &str, run: impl FnOnce() -> Result<T, Trouble>) -> Outcome<T> {
    title(name);
    run().map_err(|trouble| Failure::new(format!("the step \"{name}\" failed: {trouble}")))
}

/// Where the demonstration takes place.
struct Stage<'a> {
    operator: Operator<'a>,
}

impl Stage<'_> {
    fn show(&self, words: &[&str]) -> Result<(), Trouble> {
        self.show_within(words, SAVING)
    }

    fn show_within(&self, words: &[&str], limit: Duration) -> Result<(), Trouble> {
        println!("$ xenman {}", words.join(" "));
        print!("{}", self.operator.run_within(words, limit)?);
        Ok(())
    }

    fn reach_userspace(&self) -> Result<(), Trouble> {
        let console = self.operator.console(DOMAIN)?;
        let line = console.line("GUEST-UP", BOOT)?;
        println!("{line}");
        match line.contains("hypervisor=xen") {
            true => Ok(()),
            false => Err(Trouble("Linux does not know that it runs on Xen".into())),
        }
    }

    fn look_inside(&self) -> Result<Inside, Trouble> {
        let mut console = self.operator.console(DOMAIN)?;
        Inside::look(&mut console)
    }

    /// Looks inside once the counter has moved.
    fn count_on(&self, before: &Inside) -> Result<Inside, Trouble> {
        let mut console = self.operator.console(DOMAIN)?;
        wait(SOON, "the counter stands still", || {
            Ok(console.ask_number("counter")? > before.counter)
        })?;
        Inside::look(&mut console)
    }

    fn save(&self, file: &str) -> Result<(), Trouble> {
        self.show(&["save", DOMAIN, file])?;
        match self.operator.state(DOMAIN)? {
            None => self.show(&["list"]),
            Some(state) => Err(Trouble(format!("{DOMAIN} is still listed as {state}"))),
        }
    }

    /// The console is followed across the reboot, so that the next greeting is the new kernel's.
    fn reboot(&self, before: &Inside) -> Result<(), Trouble> {
        let mut console = self.operator.console(DOMAIN)?;
        console.ask("uname -r")?;
        self.show(&["reboot", DOMAIN])?;
        println!("{}", console.line("GUEST-UP", BOOT)?);
        let after = Inside::look(&mut console)?;
        match after.boot == before.boot {
            false => Ok(()),
            true => Err(Trouble("Linux is the one that ran before".into())),
        }
    }

    fn shut_down(&self) -> Result<(), Trouble> {
        self.show(&["shutdown", "-w", DOMAIN])?;
        self.operator.gone(DOMAIN, SOON)?;
        self.show(&["list"])
    }
}

/// What Linux says about itself.
struct Inside {
    /// Another one after each boot.
    boot: String,
    counter: u64,
    date_s: u64,
    uptime_s: u64,
}

impl Inside {
    fn look(console: &mut Console) -> Result<Self, Trouble> {
        let inside = Self {
            boot: console.ask("cat /proc/sys/kernel/random/boot_id")?,
            counter: typed(console, "counter")?,
            date_s: typed(console, "date +%s")?,
            uptime_s: typed(console, "cut -d. -f1 /proc/uptime")?,
        };
        Ok(inside)
    }

    /// Whether `later` is the same Linux a moment later in its own time.
    fn carried_on(&self, later: &Self) -> Result<(), Trouble> {
        let went = |name: &str, from: u64, to: u64| {
            let by = to.checked_sub(from);
            by.ok_or_else(|| Trouble(format!("{name} went back from {from} to {to}")))
        };
        if self.boot != later.boot {
            return Err(Trouble("Linux was booted meanwhile".into()));
        }
        let counted = went("the counter", self.counter, later.counter)?;
        let guest_s = went("the uptime", self.uptime_s, later.uptime_s)?;
        let date_s = went("the date", self.date_s, later.date_s)?;
        println!("counter +{counted}, guest time +{guest_s} s, date +{date_s} s");
        // Both are whole seconds, looked at one after the other: one of them may have just ticked.
        match date_s <= guest_s + 1 {
            true => Ok(()),
            false => Err(Trouble("the date moved while Linux did not run".into())),
        }
    }
}

fn typed(console: &mut Console, command: &str) -> Result<u64, Trouble> {
    let answer = console.ask_number(command)?;
    println!("{DOMAIN}# {command}\n{answer}");
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(counter: u64, date_s: u64, uptime_s: u64) -> Inside {
        Inside {
            boot: "a".to_owned(),
            counter,
            date_s,
            uptime_s,
        }
    }

    #[test]
    fn a_clock_that_ran_on_while_the_domain_was_a_file_is_found() {
        let before = inside(5, 1000, 10);
        assert!(before.carried_on(&inside(7, 1003, 12)).is_ok());
        assert!(before.carried_on(&inside(7, 1004, 12)).is_err());
    }

    #[test]
    fn a_counter_that_began_anew_is_found() {
        let trouble = inside(5, 1000, 10).carried_on(&inside(1, 1001, 11));
        let trouble = trouble.unwrap_err().to_string();
        assert!(trouble.contains("counter went back"), "{trouble}");
    }

    #[test]
    fn a_linux_that_was_booted_meanwhile_is_found() {
        let mut later = inside(6, 1001, 11);
        later.boot = "b".to_owned();
        assert!(inside(5, 1000, 10).carried_on(&later).is_err());
    }

    #[test]
    fn a_failure_names_its_step() {
        let failure = step::<()>("fly", || Err(Trouble("no wings".into()))).unwrap_err();
        assert_eq!(failure.to_string(), "the step \"fly\" failed: no wings");
    }
}
