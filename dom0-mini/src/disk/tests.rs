//! The disk on a device that answers as it is told to, after a while.

use super::{Answer, BlockDevice, DiskFacts, REQUEST_MAX, Request, Wait, WaitingDisk};
use std::sync::{Arc, Mutex};
use xend::store::disk::{Disk, DiskError, SECTOR};

/// Sectors of the device.
const SECTORS: usize = 300;

/// What the device and the clock beside it share with a test.
#[derive(Default)]
struct World {
    content: Vec<u8>,
    /// Requests so far: kind, sector, bytes.
    requests: Vec<(char, u64, usize)>,
    /// What it answers in the end.
    answers: Option<Answer>,
    /// How many seconds it takes for that.
    takes_s: u64,
    now_s: u64,
    since_s: u64,
    is_freed: bool,
}

type Shared = Arc<Mutex<World>>;

struct Device {
    world: Shared,
    facts: DiskFacts,
}

struct Clock(Shared);

impl BlockDevice for Device {
    fn facts(&self) -> DiskFacts {
        self.facts
    }

    fn start(&mut self, request: Request<'_>) -> bool {
        let mut world = self.world.lock().unwrap();
        world.since_s = world.now_s;
        let entry = match request {
            Request::Read(sector, length) => ('r', sector, length),
            Request::Write(sector, bytes) => {
                let at = usize::try_from(sector).unwrap() * SECTOR;
                world.content[at..][..bytes.len()].copy_from_slice(bytes);
                ('w', sector, bytes.len())
            }
            Request::Flush => ('f', 0, 0),
        };
        world.requests.push(entry);
        true
    }

    fn answer(&mut self, into: &mut [u8]) -> Answer {
        let world = self.world.lock().unwrap();
        if world.now_s < world.since_s + world.takes_s {
            return Answer::NotYet;
        }
        if let Some(('r', sector, length)) = world.requests.last().copied() {
            let at = usize::try_from(sector).unwrap() * SECTOR;
            into.copy_from_slice(&world.content[at..][..length]);
        }
        world.answers.unwrap_or(Answer::Done)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.world.lock().unwrap().is_freed = true;
    }
}

impl Wait for Clock {
    fn ticks(&self) -> u64 {
        self.0.lock().unwrap().now_s * 1000
    }

    fn ticks_per_s(&self) -> u64 {
        1000
    }

    fn sleep(&mut self, until_ticks: u64) {
        let mut world = self.0.lock().unwrap();
        world.now_s += 1;
        assert!(world.now_s * 1000 <= until_ticks, "it oversleeps");
    }
}

fn disk(facts: DiskFacts) -> (WaitingDisk<Clock>, Shared) {
    let world = Shared::default();
    world.lock().unwrap().content = vec![0; SECTORS * SECTOR];
    let device = Device {
        world: world.clone(),
        facts,
    };
    (
        WaitingDisk::new(Box::new(device), Clock(world.clone())),
        world,
    )
}

const CACHED: DiskFacts = DiskFacts {
    sectors: SECTORS as u64,
    is_read_only: false,
    has_write_cache: true,
};

#[test]
fn what_is_too_long_for_a_request_goes_in_pieces() {
    let (mut disk, world) = disk(CACHED);
    world.lock().unwrap().takes_s = 2;
    let length = 2 * REQUEST_MAX + 3 * SECTOR;
    let written: Vec<u8> = (0..length).map(|at| (at / 100) as u8).collect();
    disk.write(5, &written).unwrap();
    disk.flush().unwrap();
    let mut read = vec![0; length];
    disk.read(5, &mut read).unwrap();
    assert!(read == written);
    let pieces = |kind| {
        [
            (kind, 5, REQUEST_MAX),
            (kind, 133, REQUEST_MAX),
            (kind, 261, 3 * SECTOR),
        ]
    };
    let expected = [&pieces('w')[..], &[('f', 0, 0)], &pieces('r')].concat();
    assert_eq!(world.lock().unwrap().requests, expected);
}

#[test]
fn a_disk_without_a_cache_is_not_flushed() {
    let (mut disk, world) = disk(DiskFacts {
        has_write_cache: false,
        ..CACHED
    });
    assert_eq!(disk.flush(), Ok(()));
    assert!(world.lock().unwrap().requests.is_empty());
}

#[test]
fn what_is_not_there_or_write_protected_does_not_reach_the_device() {
    let (mut disk, world) = disk(DiskFacts {
        is_read_only: true,
        ..CACHED
    });
    let mut two = [0; 2 * SECTOR];
    let last = SECTORS as u64 - 1;
    for sector in [last, last + 1, u64::MAX] {
        assert_eq!(disk.read(sector, &mut two), Err(DiskError::OutOfRange));
    }
    assert_eq!(disk.read(0, &mut two[1..]), Err(DiskError::OutOfRange));
    assert_eq!(disk.write(0, &two), Err(DiskError::ReadOnly));
    assert!(world.lock().unwrap().requests.is_empty());
    assert_eq!(disk.read(last - 1, &mut two), Ok(()));
}

#[test]
fn a_device_that_fails_is_asked_again() {
    let (mut disk, world) = disk(CACHED);
    world.lock().unwrap().answers = Some(Answer::Failed);
    assert_eq!(disk.flush(), Err(DiskError::Device));
    world.lock().unwrap().answers = None;
    assert_eq!(disk.flush(), Ok(()));
}

fn is_given_up(mut disk: WaitingDisk<Clock>, world: &Shared) {
    assert_eq!(disk.flush(), Err(DiskError::Device));
    world.lock().unwrap().answers = None;
    world.lock().unwrap().takes_s = 0;
    assert_eq!(disk.flush(), Err(DiskError::Device));
    drop(disk);
    let world = world.lock().unwrap();
    assert_eq!(world.requests.len(), 1, "it was asked again");
    assert!(!world.is_freed, "its memory was freed");
}

#[test]
fn a_device_that_does_not_answer_is_given_up_with_its_memory() {
    let (disk, world) = disk(CACHED);
    world.lock().unwrap().takes_s = 31;
    is_given_up(disk, &world);
}

#[test]
fn a_device_that_answers_nonsense_is_given_up_with_its_memory() {
    let (disk, world) = disk(CACHED);
    world.lock().unwrap().answers = Some(Answer::Nonsense);
    is_given_up(disk, &world);
}

#[test]
fn a_device_that_is_slow_is_waited_for() {
    let (mut disk, world) = disk(CACHED);
    world.lock().unwrap().takes_s = 30;
    assert_eq!(disk.flush(), Ok(()));
    drop(disk);
    assert!(world.lock().unwrap().is_freed);
}
