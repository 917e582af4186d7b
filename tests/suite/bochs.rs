//! The same in Bochs: Intel VMX with much and with little, AMD SVM, and a 16550 UART for a management port.
//!
//! Everything crosses a serial line of 115200 baud, so guests come from the boot bundle.

use std::time::{Duration, Instant};

use harness::board::Board as Kind;
use harness::operator::Trouble;

use crate::stage::{Board, SOON, Stage, contains};
use crate::{hostile, lifecycle, smp};

static SKYLAKE: Board = Board::without_linux(Kind::BochsPc, |_| {});
static CANNON_LAKE: Board =
    Board::without_linux(Kind::BochsPc, |machine| machine.cpu = "corei3_cnl");
static RYZEN: Board = Board::without_linux(Kind::BochsPc, |machine| machine.cpu = "ryzen");
static TWO: Board = Board::without_linux(Kind::BochsPc, |machine| machine.cpus = 2);

#[test]
fn small_guests_live_on_vmx() {
    SKYLAKE.run(live_on_vmx);
}

#[test]
fn small_guests_live_on_less_of_vmx() {
    CANNON_LAKE.run(live_on_vmx);
}

fn live_on_vmx(stage: &Stage<'_>) -> Result<(), Trouble> {
    describes_itself(stage, "Intel VMX")?;
    beside_a_busy_one(stage)?;
    live(stage)
}

#[test]
fn small_guests_live_on_svm() {
    RYZEN.run(|stage| {
        describes_itself(stage, "AMD SVM")?;
        beside_a_hostile_one(stage)?;
        live(stage)
    });
}

#[test]
fn two_vcpus_run_on_two_cpus() {
    TWO.run(|stage| {
        assert_eq!(stage.operator.info("cpus")?, 2);
        smp::cpus_do_as_told(stage, &[2], "pvh")
    });
}

fn describes_itself(stage: &Stage<'_>, virtualization: &str) -> Result<(), Trouble> {
    let text = stage.operator.run(&["info"])?;
    contains(&text, &["bochs-pc (x86_64)", virtualization]);
    let info = stage.operator.json(&["info"])?;
    assert_eq!(info["virtualization"], virtualization);
    assert_eq!(info["cpus"], 1);
    Ok(())
}

/// One after the other, and each leaves all memory as it was.
fn live(stage: &Stage<'_>) -> Result<(), Trouble> {
    let lives = [
        lifecycle::switches_itself_off,
        lifecycle::paused_and_unpaused,
        lifecycle::saved_and_restored,
    ];
    for life in lives {
        life(stage)?;
        stage.clean()?;
    }
    Ok(())
}

fn beside_a_hostile_one(stage: &Stage<'_>) -> Result<(), Trouble> {
    stage.create_small("honest", "ticker", "")?;
    hostile::attack(stage, "hostile_events", "seed=1")?;
    assert!(!stage.operator.said("honest")?.contains("FAIL"));
    stage.do_to("destroy", "honest")
}

/// A guest that never waits, its interrupts masked, does not keep Domain-0 from answering. In Bochs 2.7 it does on SVM:
/// interrupts wait until such a guest takes them again, and there is no timer that ends its stay.
fn beside_a_busy_one(stage: &Stage<'_>) -> Result<(), Trouble> {
    /// Answers, and what they may take together on a machine with other things to do.
    const ANSWERS: u32 = 10;
    const PROMPT: Duration = Duration::from_secs(20);
    stage.create_small("busy", "busy", "")?;
    stage.operator.says("busy", "ok busy", SOON)?;
    let asked = Instant::now();
    for _ in 0..ANSWERS {
        stage.operator.run(&["info"])?;
    }
    let took = asked.elapsed();
    assert!(took < PROMPT, "{ANSWERS} answers took {took:?}");
    stage.do_to("destroy", "busy")
}

/// What takes minutes.
mod slow {
    use harness::board::Board as Kind;
    use harness::operator::Trouble;

    use crate::linux::{bundled, up};
    use crate::stage::{Board, SOON, Stage};

    static SKYLAKE: Board = Board::of(Kind::BochsPc, |_| {});
    static CANNON_LAKE: Board = Board::of(Kind::BochsPc, |machine| machine.cpu = "corei3_cnl");
    static RYZEN: Board = Board::of(Kind::BochsPc, |machine| machine.cpu = "ryzen");
    static TWO: Board = Board::of(Kind::BochsPc, |machine| machine.cpus = 2);

    #[test]
    fn debian_answers_on_vmx() {
        SKYLAKE.run(answers);
    }

    #[test]
    fn debian_answers_on_less_of_vmx() {
        CANNON_LAKE.run(answers);
    }

    #[test]
    fn debian_answers_on_svm() {
        RYZEN.run(answers);
    }

    #[test]
    fn debian_answers_on_two_cpus() {
        TWO.run(answers);
    }

    fn answers(stage: &Stage<'_>) -> Result<(), Trouble> {
        let mut console = up(stage, "debian", &bundled(stage, "debian", 128))?;
        assert_eq!(console.ask("expr 6 \\* 7")?, "42");
        stage.do_to("shutdown", "debian")?;
        stage.operator.gone("debian", SOON)
    }
}
