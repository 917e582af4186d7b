//! The host's clock, as xend hands it down.

use super::world::facts;
use crate::fake::Fake;
use crate::store::keeper::Mounted;
use crate::{Now, Xend};

#[test]
fn the_hypervisor_is_told_the_wall_clock_at_its_time_0() {
    let fake = Fake::new();
    let now = Now {
        mono_ns: 1_500_000_000,
        wall_ns: Some(1_800_000_001_000_000_007),
    };
    drop(Xend::new(
        fake.clone(),
        "",
        Mounted::default(),
        facts(),
        now,
    ));
    assert_eq!(
        fake.0.borrow().wall_clock,
        Some((1_799_999_999, 500_000_007))
    );
}

#[test]
fn a_host_without_a_clock_says_so_and_sets_nothing() {
    let fake = Fake::new();
    drop(Xend::new(
        fake.clone(),
        "",
        Mounted::default(),
        facts(),
        Now::default(),
    ));
    assert_eq!(fake.0.borrow().wall_clock, None);
}
