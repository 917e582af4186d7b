//! The time-stamp counter as a clock.

use hv_common::clock::Floating;

/// The counter may run faster than 1 GHz or slower.
pub type Clock = hv_common::clock::Clock<Floating, Floating>;
