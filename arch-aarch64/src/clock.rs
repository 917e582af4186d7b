//! The generic counter as a clock.

use hv_common::clock::Fixed;

/// The counter runs at 1 GHz or less: nanoseconds in a tick as 32.32, ticks in a nanosecond (at most one) as 0.64.
pub type Clock = hv_common::clock::Clock<Fixed<32>, Fixed<64>>;
