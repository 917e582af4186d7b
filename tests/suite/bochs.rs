//! The same in Bochs: Intel VMX with much and with little, AMD SVM, and a 16550 UART for a management port.
//!
//! Everything crosses a serial line of 115200 baud, so guests come from the boot bundle.

use std::path::Path;

use harness::board::Board as Kind;
use harness::operator::Trouble;

use crate::stage::{Board, LINUX_BOOT, SOON, Stage, contains};

static SKYLAKE: Board = Board::of(Kind::BochsPc, |_| {});
static CANNON_LAKE: Board = Board::of(Kind::BochsPc, |machine| machine.cpu = "corei3_cnl");
static RYZEN: Board = Board::of(Kind::BochsPc, |machine| machine.cpu = "ryzen");
static TWO: Board = Board::of(Kind::BochsPc, |machine| machine.cpus = 2);

#[test]
fn a_machine_with_vmx_runs_a_domain() {
    SKYLAKE.run(|stage| {
        describes_itself(stage, 1)?;
        a_domain_comes_and_goes(stage)
    });
}

#[test]
fn a_machine_with_less_of_vmx_runs_a_domain() {
    CANNON_LAKE.run(|stage| {
        describes_itself(stage, 1)?;
        a_domain_comes_and_goes(stage)
    });
}

#[test]
fn a_machine_with_svm_runs_a_domain() {
    RYZEN.run(|stage| {
        describes_itself(stage, 1)?;
        a_domain_comes_and_goes(stage)
    });
}

#[test]
fn a_machine_with_two_cpus_runs_a_domain() {
    TWO.run(|stage| {
        describes_itself(stage, 2)?;
        a_domain_comes_and_goes(stage)
    });
}

fn describes_itself(stage: &Stage<'_>, cpus: u64) -> Result<(), Trouble> {
    contains(&stage.operator.run(&["info"])?, &["bochs-pc (x86_64)"]);
    assert_eq!(stage.operator.info("cpus")?, cpus);
    Ok(())
}

/// Linux, from its first words to its end before its time.
fn a_domain_comes_and_goes(stage: &Stage<'_>) -> Result<(), Trouble> {
    let more = "memory = 96\nramdisk = \"boot:initrd.gz\"\nextra = \"console=hvc0\"";
    let kernel = format!("boot:{}", stage.kind.kernel());
    let file = stage.configuration("early", Path::new(&kernel), more);
    stage.operator.run_within(&["create", &file], LINUX_BOOT)?;
    stage.is("early", &["running", "blocked"])?;
    stage.operator.says("early", "Linux version 6.", SOON)?;
    stage.do_to("pause", "early")?;
    stage.is("early", &["paused"])?;
    stage.do_to("unpause", "early")?;
    stage.is("early", &["running", "blocked"])?;
    stage.do_to("destroy", "early")?;
    stage.operator.gone("early", SOON)
}

/// What takes minutes.
mod slow {
    use super::{CANNON_LAKE, RYZEN, SKYLAKE, TWO};
    use crate::linux::{bundled, up};
    use crate::stage::{SOON, Stage};
    use harness::operator::Trouble;

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
