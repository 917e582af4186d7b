//! What clients see of the store: with a disk, without one, and with one that fails.

use super::world::{World, facts};
use crate::fake::Fake;
use crate::store::disk::Disk;
use crate::store::keeper::{Keeper, Order};
use crate::store::partition::Names;
use crate::store::simulated::{Random, SimulatedDisk};
use crate::store::volume::{Batch, Change, File};
use crate::{Event, Now, Xend};
use mgmt_proto::messages::{ErrorCode, Failure, Follow, Reply, RequestBody, StoreInfo, StorePlace};
use std::boxed::Box;
use std::string::{String, ToString};
use std::vec;

/// A machine with a disk.
pub(super) struct Machine {
    pub(super) world: World,
    keeper: Keeper,
}

impl Machine {
    pub(super) fn start(disk: Option<&SimulatedDisk>) -> Self {
        Self::over(Fake::new(), disk)
    }

    /// A xend that starts over a machine that may have domains already.
    pub(super) fn over(fake: Fake, disk: Option<&SimulatedDisk>) -> Self {
        let disk = disk.map(|disk| Box::new(disk.clone()) as Box<dyn Disk>);
        let mut random = Random::new(9);
        let names = Names::new(|into| random.fill(into));
        let (keeper, mounted) = Keeper::mount(disk, &names);
        let xend = Xend::new(fake.clone(), "", mounted, facts(), Now::default());
        Self {
            world: World::with(fake, xend),
            keeper,
        }
    }

    /// Lets the keeper do what is ordered; how much that was.
    pub(super) fn keep(&mut self) -> usize {
        let mut orders = 0;
        while let Some(order) = self.world.xend.take_order() {
            self.carry_out(&order);
            orders += 1;
        }
        orders
    }

    fn carry_out(&mut self, order: &Order) {
        let result = self.keeper.carry_out(order);
        self.world.event(Event::Kept(result.as_ref()));
    }

    /// Changes a file of the store behind xend's back.
    pub(super) fn tamper(&mut self, path: &str, content: &[u8]) {
        let file = File {
            content: content.to_vec(),
            ..File::default()
        };
        let path = path.to_string();
        let batch = Batch {
            changes: vec![Change::Put { path, file }],
            ..Batch::default()
        };
        self.keeper.carry_out(&Order::Keep(batch)).unwrap();
    }

    /// Asks, lets the keeper and xend do what they have to, and has the answer.
    pub(super) fn ask(&mut self, body: RequestBody) -> Result<Reply, Failure> {
        let id = self.world.post(1, body);
        self.keep();
        self.world.finish();
        self.world.answer(1, id).expect("an answer")
    }

    fn set(&mut self, text: &str) -> Result<Reply, Failure> {
        self.ask(RequestBody::ConfigSet(text.to_string()))
    }

    /// The configuration in force; the keeper does nothing meanwhile.
    fn config(&mut self) -> String {
        match self.world.ask_as(1, RequestBody::ConfigShow) {
            Ok(Reply::Text(chunk)) => String::from_utf8(chunk.text).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn log(&mut self) -> String {
        let Ok(Reply::Text(chunk)) = self.ask(RequestBody::Log(Follow::default())) else {
            panic!("no log")
        };
        String::from_utf8(chunk.text).unwrap()
    }

    fn store(&mut self) -> StoreInfo {
        match self.ask(RequestBody::Info) {
            Ok(Reply::Info(info)) => *info.store.expect("a store"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_configuration_outlives_a_restart() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::start(Some(&disk));
    assert_eq!(
        machine.set("(console-limit 128)\n"),
        Ok(Reply::Remarks([].into()))
    );
    assert!(machine.config().contains("(console-limit 128)"));
    drop(machine);
    let mut machine = Machine::start(Some(&disk));
    assert!(machine.config().contains("(console-limit 128)"));
    let store = machine.store();
    assert_eq!((store.place, store.size_kib), (StorePlace::DISK, 16 * 1024));
}

#[test]
fn nobody_is_told_before_it_is_kept() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::start(Some(&disk));
    let id = machine
        .world
        .post(1, RequestBody::ConfigSet("(loglevel ERROR)".into()));
    assert_eq!(machine.world.answer(1, id), None);
    assert!(machine.config().contains("INFO"));
    assert_eq!(machine.keep(), 1);
    assert!(matches!(
        machine.world.answer(1, id),
        Some(Ok(Reply::Remarks(_)))
    ));
    assert!(machine.config().contains("ERROR"));
}

#[test]
fn a_configuration_with_an_error_is_refused_and_the_last_one_holds() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::start(Some(&disk));
    machine.set("(console-limit 128)\n").unwrap();
    let refused = machine
        .set("(console-limit 128)\n(loglevel LOUD)\n")
        .unwrap_err();
    assert_eq!(refused.code, ErrorCode::BAD_CONFIG);
    assert!(
        refused
            .message
            .contains("2:11: error: loglevel cannot be `LOUD`")
    );
    drop(machine);
    assert!(
        Machine::start(Some(&disk))
            .config()
            .contains("(console-limit 128)")
    );
}

#[test]
fn without_a_disk_the_store_is_in_memory_and_says_so() {
    let mut machine = Machine::start(None);
    assert_eq!(machine.store().place, StorePlace::MEMORY);
    machine.set("(console-limit 128)\n").unwrap();
    assert!(machine.config().contains("(console-limit 128)"));
    assert!(
        machine
            .log()
            .contains("the store is in memory, as there is no disk")
    );
    let refused = machine.ask(RequestBody::HostInit(true)).unwrap_err();
    assert!(refused.message.contains("no disk"), "{refused}");
}

#[test]
fn the_log_is_kept_a_second_after_its_first_line() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::start(Some(&disk));
    assert_eq!(machine.keep(), 0);
    machine.world.pass(999);
    assert_eq!(machine.keep(), 0);
    machine.world.pass(1);
    assert_eq!(machine.keep(), 1);
    machine.world.pass(5000);
    assert_eq!(machine.keep(), 0, "there is nothing new");
    drop(machine);
    let log = Machine::start(Some(&disk)).log();
    let (made, found) = (
        log.find("made on an empty disk"),
        log.find("the store is on a disk"),
    );
    assert!(made.is_some() && made < found, "{log}");
}

#[test]
fn the_line_that_tells_of_a_change_is_kept_with_it() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::start(Some(&disk));
    machine.set("(console-limit 128)\n").unwrap();
    machine.world.pass(5000);
    assert_eq!(machine.keep(), 0, "nothing is left to keep");
    drop(machine);
    let log = Machine::start(Some(&disk)).log();
    assert!(log.contains("xend-config.sxp is changed"), "{log}");
}

#[test]
fn a_change_that_is_not_kept_is_told_of_as_such() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::start(Some(&disk));
    disk.cut_after(3);
    machine.set("(console-limit 128)\n").unwrap_err();
    let log = machine.log();
    let last = log.lines().last().unwrap();
    assert!(
        last.contains("ERROR (xend) not kept, as the store is read-only: ")
            && last.ends_with(": xend-config.sxp is changed"),
        "{log}"
    );
}

#[test]
fn a_foreign_disk_is_left_alone_until_the_operator_insists() {
    let disk = SimulatedDisk::new(16);
    disk.overwrite(0, [0x5A; 512]);
    let mut machine = Machine::start(Some(&disk));
    let store = machine.store();
    assert_eq!(store.place, StorePlace::RESCUE);
    assert!(store.reason.unwrap().contains("not a store"));
    let refused = machine.set("(loglevel DEBUG)").unwrap_err();
    assert_eq!(refused.code, ErrorCode::STORE);
    assert!(refused.to_string().contains("read-only"), "{refused}");
    assert_eq!(
        machine.ask(RequestBody::HostInit(false)).unwrap_err().code,
        ErrorCode::REFUSED
    );
    assert_eq!(disk.operations(), 0);
    assert_eq!(machine.ask(RequestBody::HostInit(true)), Ok(Reply::Done));
    assert_eq!(machine.store().place, StorePlace::DISK);
    machine.set("(loglevel DEBUG)").unwrap();
    drop(machine);
    assert!(Machine::start(Some(&disk)).config().contains("DEBUG"));
}

#[test]
fn a_disk_that_fails_makes_the_store_read_only_and_xend_goes_on() {
    let disk = SimulatedDisk::new(16);
    let mut machine = Machine::start(Some(&disk));
    disk.cut_after(3);
    let refused = machine.set("(loglevel DEBUG)").unwrap_err();
    assert_eq!(refused.code, ErrorCode::STORE);
    assert_eq!(machine.store().place, StorePlace::RESCUE);
    assert!(machine.config().contains("INFO"));
    assert!(
        machine
            .log()
            .contains("nothing more is written to the store")
    );
    assert!(machine.set("(loglevel DEBUG)").is_err());
}
