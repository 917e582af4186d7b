//! Debian's Linux as a domain.

use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use harness::board::Board as Kind;
use harness::images::Images;
use harness::operator::{Console, Trouble};
use serde_json::Value;

use crate::stage::{Board, LINUX_BOOT, SOON, Stage, contains, on_machine};

/// Another one after each boot.
const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";

/// The configuration of a domain with Debian from the boot bundle.
pub(crate) fn bundled(stage: &Stage<'_>, name: &str, memory_mib: u32) -> String {
    bundled_with(stage, name, memory_mib, "")
}

/// The same with further lines.
pub(crate) fn bundled_with(stage: &Stage<'_>, name: &str, memory_mib: u32, lines: &str) -> String {
    let more = format!(
        "{lines}\nmemory = {memory_mib}\nramdisk = \"boot:initrd.gz\"\nextra = \"console=hvc0 quiet\""
    );
    let kernel = format!("boot:{}", stage.kind.kernel());
    stage.configuration(name, Path::new(&kernel), &more)
}

/// The configuration of a domain with Debian from files, which are uploaded, and of the least memory.
fn uploaded(stage: &Stage<'_>, name: &str) -> String {
    let debian = stage.kind.debian(&Images::of_workspace());
    let more = format!(
        "memory = 128\nramdisk = \"{}\"\nextra = \"console=hvc0 quiet\"",
        debian.join("initrd.gz").display()
    );
    stage.configuration(name, &debian.join(packed_kernel(stage)), &more)
}

/// Puts Debian into the host's store.
pub(crate) fn add_image(stage: &Stage<'_>, name: &str) -> Result<(), Trouble> {
    let debian = stage.kind.debian(&Images::of_workspace());
    let file = |name: &str| debian.join(name).display().to_string();
    let (kernel, initrd) = (file(packed_kernel(stage)), file("initrd.gz"));
    let words = [
        "image", "add", name, "--kernel", &kernel, "--initrd", &initrd,
    ];
    stage.operator.run_within(&words, LINUX_BOOT).map(drop)
}

/// The file that people have of the kernel.
fn packed_kernel(stage: &Stage<'_>) -> &'static str {
    match stage.kind {
        Kind::QemuVirt => "Image",
        Kind::QemuQ35 | Kind::BochsPc => "bzImage",
    }
}

/// Creates a domain and waits for its shell.
pub(crate) fn up(stage: &Stage<'_>, name: &str, file: &str) -> Result<Console, Trouble> {
    stage.operator.run_within(&["create", file], LINUX_BOOT)?;
    let console = stage.operator.console(name)?;
    contains(&console.line("GUEST-UP", LINUX_BOOT)?, &["hypervisor=xen"]);
    Ok(console)
}

#[test]
fn debian_lives_a_whole_life() {
    on_machine(whole_life);
}

/// Lines of warnings that Debian's kernel prints in a domain of Xen's too: what is missing there by design.
fn known_warnings(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::QemuVirt => &["Grant table initialized"],
        Kind::QemuQ35 | Kind::BochsPc => &[
            "Grant table initialized",
            "ACPI: No IOAPIC entries present",
            "PCI: Fatal: No config space access function found",
            "PCI: System does not support PCI",
            // Of QEMU's EPYC, with and without a hypervisor: it has no IBPB.
            "Speculative Return Stack Overflow: IBPB-extending microcode not applied!",
            "Speculative Return Stack Overflow: WARNING: See https://kernel.org/doc/html/latest/admin-guide/hw-vuln/srso.html for mitigation options.",
        ],
    }
}

/// What the kernel warned of so far, but for [`known_warnings`]: a Linux on a bare board does not say more either.
fn unknown_warnings(stage: &Stage<'_>, console: &mut Console) -> Result<Vec<String>, Trouble> {
    const WARNINGS: &str = "dmesg -r | grep '^<[0-4]>'";
    let known = known_warnings(stage.kind);
    let mut unknown = Vec::new();
    for line in 1..=console.ask_number(&format!("{WARNINGS} -c"))? {
        let line = console.ask(&format!("{WARNINGS} | sed -n {line}p"))?;
        let text = line
            .split_once("] ")
            .map_or(line.as_str(), |(_, text)| text);
        if !known.contains(&text) {
            unknown.push(text.to_owned());
        }
    }
    Ok(unknown)
}

/// What is told of a Linux that has booted and waits for keys is what it did.
fn has_used_what_a_linux_uses(stage: &Stage<'_>, console: &mut Console) -> Result<(), Trouble> {
    let usage = |stage: &Stage<'_>| Ok(stage.operator.json(&["info", "debian"])?["usage"].clone());
    let before: Value = usage(stage)?;
    console.ask("sleep 1; echo slept")?;
    let after = usage(stage)?;
    let grown = |path: &str| {
        let at = |usage: &Value| usage.pointer(path).and_then(Value::as_u64);
        at(&after).unwrap_or_default() - at(&before).unwrap_or_default()
    };
    assert!(grown("/blocked_ns") > 900_000_000, "{before} {after}");
    for path in [
        "/runs",
        "/interrupts",
        "/events",
        "/exits/hypercalls",
        "/exits/idle",
    ] {
        assert!(grown(path) > 0, "{path}: {before} {after}");
    }
    assert_eq!(after["vcpus"].as_array().map(Vec::len), Some(1));
    // A vCPU is looked at a little later than the domain.
    let taken = |path: &str| after.pointer(path).and_then(Value::as_u64);
    assert!(
        taken("/vcpus/0/interrupts") >= taken("/interrupts"),
        "{after}"
    );
    Ok(())
}

pub(crate) fn whole_life(stage: &Stage<'_>) -> Result<(), Trouble> {
    let mut console = up(stage, "debian", &bundled(stage, "debian", 192))?;
    assert_eq!(console.ask("expr 6 \\* 7")?, "42");
    let unknown = unknown_warnings(stage, &mut console)?;
    assert_eq!(unknown, [""; 0]);
    let info = stage.operator.run(&["info", "debian"])?;
    let refusals = info.lines().find(|line| line.starts_with("refusals "));
    assert!(refusals.is_some_and(|line| line.ends_with(" 0")), "{info}");
    has_used_what_a_linux_uses(stage, &mut console)?;
    let pause = console.ask_number("counter")?;
    let boot = console.ask(BOOT_ID)?;

    let saved = stage.file("debian.save");
    let saved = saved.to_string_lossy();
    let before = [
        console.ask_number("cut -d. -f1 /proc/uptime")?,
        console.ask_number("date +%s")?,
    ];
    let host_s = SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970");
    assert!(
        before[1].abs_diff(host_s.as_secs()) < 600,
        "Linux does not know the time: {} for {host_s:?}",
        before[1]
    );
    stage
        .operator
        .run_within(&["save", "debian", &saved], LINUX_BOOT)?;
    drop(console);
    thread::sleep(Duration::from_secs(5));
    stage
        .operator
        .run_within(&["restore", &saved], LINUX_BOOT)?;
    let mut console = stage.operator.console("debian")?;
    let date = console.ask_number("date +%s")?;
    let uptime = console.ask_number("cut -d. -f1 /proc/uptime")?;
    let counter = console.ask_number("counter")?;
    assert!(
        counter >= pause,
        "the counter went from {pause} to {counter}"
    );
    let (guest, shown) = (uptime - before[0], date - before[1]);
    assert!(
        shown <= guest + 1,
        "{guest} s passed, the date moved by {shown} s"
    );

    assert_eq!(console.ask(BOOT_ID)?, boot, "it was booted meanwhile");
    stage.operator.run(&["reboot", "debian"])?;
    console.line("GUEST-UP", LINUX_BOOT)?;
    assert_ne!(console.ask(BOOT_ID)?, boot, "it was not booted");
    stage
        .operator
        .run_within(&["shutdown", "-w", "debian"], LINUX_BOOT)?;
    stage.operator.gone("debian", SOON)
}

#[test]
fn debian_switches_off_and_reboots_from_inside() {
    on_machine(from_inside);
}

pub(crate) fn from_inside(stage: &Stage<'_>) -> Result<(), Trouble> {
    let mut console = up(stage, "inside", &uploaded(stage, "inside"))?;
    console.send("reboot\n")?;
    console.line("GUEST-UP", LINUX_BOOT)?;
    console.send("poweroff\n")?;
    stage.operator.gone("inside", SOON)
}

#[test]
fn a_debian_restored_from_a_file_is_rebooted_from_the_kernel_that_is_still_there() {
    on_machine(rebooted_after_restore);
}

pub(crate) fn rebooted_after_restore(stage: &Stage<'_>) -> Result<(), Trouble> {
    drop(up(stage, "moved", &uploaded(stage, "moved"))?);
    let saved = stage.file("moved.save");
    let saved = saved.to_string_lossy();
    let save = ["save", "moved", &saved];
    stage.operator.run_within(&save, LINUX_BOOT)?;
    stage
        .operator
        .run_within(&["restore", &saved], LINUX_BOOT)?;
    let mut console = stage.operator.console("moved")?;
    console.send("reboot\n")?;
    console.line("GUEST-UP", LINUX_BOOT)?;
    stage.do_to("destroy", "moved")
}

#[test]
fn two_debians_live_side_by_side() {
    on_machine(side_by_side);
}

pub(crate) fn side_by_side(stage: &Stage<'_>) -> Result<(), Trouble> {
    drop(up(stage, "first", &bundled(stage, "first", 128))?);
    let mut second = up(stage, "second", &bundled(stage, "second", 160))?;
    let saved = stage.file("first.save");
    let saved = saved.to_string_lossy();
    let before = second.ask_number("counter")?;
    let save = ["save", "first", &saved];
    stage.operator.run_within(&save, LINUX_BOOT)?;
    assert!(second.ask_number("counter")? >= before);
    stage
        .operator
        .run_within(&["restore", &saved], LINUX_BOOT)?;
    let mut first = stage.operator.console("first")?;
    assert_eq!(first.ask("expr 40 + 2")?, "42");
    assert_eq!(second.ask("expr 20 + 1")?, "21");
    stage.do_to("destroy", "first")?;
    assert!(second.ask_number("counter")? >= before);
    stage.do_to("destroy", "second")
}

#[test]
fn debians_that_come_and_go_leave_all_memory_free() {
    on_machine(|stage| {
        for round in 0..10 {
            let _console = up(stage, "round", &bundled(stage, "round", 128))?;
            stage.do_to("destroy", "round")?;
            let outcome = stage.clean();
            outcome.map_err(|trouble| Trouble(format!("round {round}: {trouble}")))?;
        }
        Ok(())
    });
}

/// A machine with room for a large domain.
static LARGE: Board = Board::new(|machine| machine.memory_mib = 4096);

#[test]
fn debian_uses_three_gib() {
    LARGE.run(|stage| {
        let mut console = up(stage, "large", &bundled(stage, "large", 3072))?;
        let kib = console.ask_number("grep MemTotal /proc/meminfo")?;
        assert!((2_900_000..=3 << 20).contains(&kib), "{kib} KiB");
        stage.do_to("shutdown", "large")?;
        stage.operator.gone("large", SOON)
    });
}
