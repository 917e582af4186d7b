//! Domains of the boot bundle.

use super::world::{World, kernel};
use crate::fake::Fake;
use mgmt_proto::messages::{Follow, Reply, RequestBody};
use std::string::String;
use std::vec::Vec;

fn booted() -> World {
    let fake = Fake::new();
    {
        let mut machine = fake.0.borrow_mut();
        let image: &'static [u8] = Vec::leak(kernel());
        machine.bundle.insert("Image", image);
        let two = b"name = 'two'\nmemory = 2\nkernel = 'boot:Image'\n";
        let one = b"name = 'one'\nmemory = 2\nkernel = 'boot:Image'\n";
        machine.bundle.insert("auto/20.cfg", two);
        machine.bundle.insert("auto/10.cfg", one);
        machine
            .bundle
            .insert("auto/15.cfg", b"name = 'lost'\nmemory = 2\nkernel = '/k'\n");
        machine.bundle.insert("auto/notes", b"nothing");
        machine.bundle.insert("example.cfg", one);
    }
    World::over(fake)
}

fn names(world: &mut World) -> Vec<String> {
    world.list().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn they_are_created_in_order_and_one_that_cannot_be_is_logged() {
    let mut world = booted();
    world.finish();
    assert_eq!(names(&mut world), ["one", "two"]);
    let Ok(Reply::Text(log)) = world.ask(RequestBody::Log(Follow::default())) else {
        panic!("no log")
    };
    let log = String::from_utf8_lossy(&log.text).into_owned();
    assert!(
        log.contains("auto/15.cfg: ") && log.contains("'/k'"),
        "{log}"
    );
}

#[test]
fn a_xend_that_starts_anew_creates_nothing() {
    let mut world = booted();
    world.finish();
    world
        .ask(RequestBody::Destroy(super::world::by_name("one")))
        .unwrap();
    let mut again = World::over(world.fake.clone());
    again.finish();
    assert_eq!(names(&mut again), ["two"]);
}
