//! The power fails under the real driver, and sectors go bad: what xend acknowledged is there afterwards, or xend says that
//! it is not.

use std::fs;

use harness::board::Board;
use harness::images::Images;
use harness::operator::{Operator, Trouble, wait};
use harness::power::SECTOR;
use harness::power_cuts::Machine;

use crate::stage::SOON;

/// Cuts on each board.
const CUTS: u32 = 10;
/// Sectors that go bad.
const SAMPLES: usize = 20;

fn machine(board: Board, seed: u64) -> Machine {
    println!("the seed is {seed}");
    let machine = Machine::new(board, &Images::of_workspace(), seed);
    machine.unwrap_or_else(|trouble| panic!("{trouble}"))
}

fn keeps_what_it_acknowledged(board: Board, seed: u64) {
    let images = Images::of_workspace();
    let mut machine = machine(board, seed);
    for cut in 1..=CUTS {
        let fault = machine.run(&images).and_then(|()| machine.fault(&images));
        match fault {
            Ok(None) => {}
            Ok(Some(fault)) => panic!("seed {seed}, cut {cut}: {fault}"),
            Err(trouble) => panic!("seed {seed}, cut {cut}: {trouble}"),
        }
    }
    let acknowledged = machine.acknowledged();
    assert!(
        acknowledged > CUTS,
        "only {acknowledged} changes were acknowledged"
    );
}

#[test]
fn what_is_acknowledged_outlives_power_cuts() {
    keeps_what_it_acknowledged(Board::QemuVirt, 20_261_130);
}

#[test]
fn what_is_acknowledged_outlives_power_cuts_on_x86() {
    keeps_what_it_acknowledged(Board::QemuQ35, 20_261_131);
}

/// The test can fail: without flushes something is lost, sooner or later.
#[test]
fn a_disk_that_ignores_flushes_is_found_out() {
    let images = Images::of_workspace();
    let mut machine = machine(Board::QemuVirt, 7);
    machine.disk().lock().ignore_flushes();
    let is_found_out = (0..CUTS).any(|_| {
        let fault = machine.run(&images).and_then(|()| machine.fault(&images));
        fault
            .unwrap_or_else(|trouble| panic!("{trouble}"))
            .is_some()
    });
    assert!(is_found_out, "nothing was lost in {CUTS} cuts");
}

/// Any sector that is in use goes bad while the machine is off.
#[test]
fn a_sector_that_goes_bad_is_made_good_or_told_of() {
    let images = Images::of_workspace();
    let mut machine = machine(Board::QemuVirt, 11);
    let outcome = (|| {
        let host = machine.boot(&images)?.ok_or(Trouble("no power".into()))?;
        for _ in 0..5 {
            machine.change(Operator::new(&host))?;
        }
        drop(host);
        let good = machine.disk().lock().clone();
        let mut told = 0;
        for _ in 0..SAMPLES {
            let sectors = good.in_use();
            let sector = sectors[machine.random().below(sectors.len())];
            let content = machine.random().bytes(SECTOR);
            let content = content.try_into().expect("as many bytes as were asked for");
            let mut disk = good.clone();
            disk.overwrite(sector, content);
            *machine.disk().lock() = disk;
            if let Some(fault) = machine.fault(&images)? {
                let is_told = fault.contains("the store on the disk is damaged");
                is_told
                    .then_some(())
                    .ok_or(Trouble(format!("sector {sector}: {fault}")))?;
                told += 1;
            }
        }
        println!("{told} of {SAMPLES} were told of");
        Ok(())
    })();
    outcome.unwrap_or_else(|trouble: Trouble| panic!("{trouble}"));
}

/// All of it goes bad while the machine runs: changes may be refused, but the host and its domains go on.
#[test]
fn a_disk_that_rots_under_a_running_machine_touches_no_domain() {
    let images = Images::of_workspace();
    let mut machine = machine(Board::QemuVirt, 13);
    let outcome = (|| {
        let host = machine.boot(&images)?.ok_or(Trouble("no power".into()))?;
        let operator = Operator::new(&host);
        machine.change(operator)?;
        let config = host.folder().join("witness.cfg");
        let kernel = Board::QemuVirt.guest(&images, "ticker");
        let text = format!(
            "name = \"witness\"\nmemory = 8\nkernel = \"{}\"\n",
            kernel.display()
        );
        fs::write(&config, text).expect("there is room for a file");
        operator.run(&["create", &config.display().to_string()])?;
        operator.says("witness", "tick 3", SOON)?;
        let mut rotten = machine.disk().lock().clone();
        for sector in rotten.in_use() {
            let content = machine.random().bytes(SECTOR);
            rotten.overwrite(
                sector,
                content.try_into().expect("as many as were asked for"),
            );
        }
        *machine.disk().lock() = rotten;
        let refused = (0..5).filter(|_| machine.change(operator).is_err()).count();
        println!("{refused} of 5 changes were refused");
        let ticks = || {
            operator
                .said("witness")
                .map(|said| said.matches("tick").count())
        };
        let before = ticks()?;
        wait(
            SOON,
            "the domain stands still",
            || Ok(ticks()? > before + 5),
        )?;
        operator.json(&["info"]).map(drop)
    })();
    outcome.unwrap_or_else(|trouble: Trouble| panic!("{trouble}"));
}
