//! The Debian guest on the bare board: what it does there is what it has to do in a domain.

use std::time::Duration;

use harness::board::Board;
use harness::host::Session;
use harness::images::Images;
use harness::machine::{Machine, Serial};

const BOOT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(30);

fn native(options: &str) -> Session {
    let debian = Images::of_workspace().debian();
    let mut machine = Machine::native_linux(
        Board::QemuVirt,
        debian.join("Image"),
        debian.join("initrd.gz"),
    );
    machine.options = format!("console=ttyAMA0 quiet {options}");
    Session::start(machine.command(Serial::Terminal, None)).expect("the emulator starts")
}

fn counter(guest: &mut Session) -> u32 {
    guest.send("counter\n").expect("the console takes input");
    let line = guest
        .output()
        .expect_line("COUNTER ", SOON)
        .expect("the counter is printed");
    let number = line.trim_start_matches("COUNTER ");
    number
        .parse()
        .unwrap_or_else(|_| panic!("{line:?} has no number"))
}

#[test]
fn the_guest_says_that_it_is_up_answers_and_counts() {
    let mut guest = native("");
    let line = guest.output().expect_line("GUEST-UP", BOOT).unwrap();
    assert!(line.contains("hypervisor=none"), "{line}");
    guest.output().expect("guest# ", SOON).unwrap();
    guest.send("echo answer $((6 * 7))\n").unwrap();
    guest.output().expect("answer 42", SOON).unwrap();

    let first = counter(&mut guest);
    guest.send("sleep 2; echo slept\n").unwrap();
    guest.output().expect("\nslept", SOON).unwrap();
    assert!(counter(&mut guest) > first);

    guest.send("reboot\n").unwrap();
    assert_eq!(
        guest.status(SOON).unwrap(),
        Some(0),
        "the board was not reset"
    );
}

#[test]
fn the_guest_switches_off_when_its_command_line_says_so() {
    let mut guest = native("alcove_then=poweroff");
    guest.output().expect_line("GUEST-UP", BOOT).unwrap();
    assert_eq!(
        guest.status(SOON).unwrap(),
        Some(0),
        "the board was not switched off"
    );
}
