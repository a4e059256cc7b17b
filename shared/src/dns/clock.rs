//! Time that neither jumps nor stands still (G3c): made from readings of a wall clock that may do both.
//!
//! Entries outlive the process, so their ends are wall-clock times. But a wall clock is set by hand, by NTP, and by a
//! machine that wakes up. Were it believed, a step forward would drop every address at once, and a step back would
//! keep them all for as long as the step is wide.
//!
//! So only the difference of two readings counts, and no more than [`MAX_STEP`] of it. A step back counts as no time at
//! all. Whoever runs the loop comes by at least every [`HEARTBEAT`], so that time which passed is counted in full.
//! The kernel's timeouts, which go by its monotonic clock, run the same way.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How often somebody has to come by, at the longest.
pub const HEARTBEAT: Duration = Duration::from_secs(60);

/// The most time that can pass between two readings; more is taken for a step of the clock.
pub const MAX_STEP: Duration = Duration::from_secs(5 * 60);

/// A reading of the wall clock: milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The time that passed since an earlier reading; none if that one is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// A later reading.
    pub fn after(self, time: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis(time)))
    }

    /// An earlier reading.
    pub fn before(self, time: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(millis(time)))
    }
}

/// A time as whole milliseconds.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A point in steady time. Two of them can be compared, and mean nothing outside of their [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Moment(u64);

impl Moment {
    pub(super) fn after(self, time: Duration) -> Moment {
        Moment(self.0.saturating_add(millis(time)))
    }

    pub(super) fn before(self, time: Duration) -> Moment {
        Moment(self.0.saturating_sub(millis(time)))
    }

    /// The time left until a later moment; none if that one is past.
    pub(super) fn until(self, later: Moment) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }
}

/// Steady time from wall-clock readings.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    wall: Timestamp,
    now: Moment,
}

impl Clock {
    /// Starts far enough from zero that moments in the past can be named.
    const START: Moment = Moment(1 << 40);

    pub(super) fn new(wall: Timestamp) -> Self {
        Clock { wall, now: Self::START }
    }

    /// Takes a reading, and gives the time that it is now.
    pub(super) fn read(&mut self, wall: Timestamp) -> Moment {
        self.now = self.now.after(wall.since(self.wall).min(MAX_STEP));
        self.wall = wall;
        self.now
    }

    /// Takes a reading after the process was away: all of the difference counts.
    pub(super) fn leap(&mut self, wall: Timestamp) -> Moment {
        self.now = self.now.after(wall.since(self.wall));
        self.wall = wall;
        self.now
    }

    /// The time of the last reading.
    pub(super) fn now(&self) -> Moment {
        self.now
    }

    /// What the wall clock would show at a moment, going by the last reading.
    pub(super) fn wall_at(&self, moment: Moment) -> Timestamp {
        self.wall.after(self.now.until(moment)).before(moment.until(self.now))
    }

    /// The moment at which the wall clock would show a reading, going by the last one.
    pub(super) fn moment_at(&self, wall: Timestamp) -> Moment {
        Moment(self.now.after(wall.since(self.wall)).0.saturating_sub(millis(self.wall.since(wall))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn time_never_goes_back_and_never_leaps(readings in prop::collection::vec(any::<u64>(), 1..50)) {
            let mut clock = Clock::new(Timestamp(readings[0]));
            let mut last = clock.now();
            for wall in readings {
                let now = clock.read(Timestamp(wall));
                prop_assert!(now >= last && last.until(now) <= MAX_STEP);
                last = now;
            }
        }

        #[test]
        fn small_steps_count_in_full(start in 0..1_u64 << 50, steps in prop::collection::vec(0..300_000_u64, 1..50)) {
            let mut clock = Clock::new(Timestamp(start));
            let begun = clock.now();
            let mut wall = start;
            for step in &steps {
                wall += step;
                clock.read(Timestamp(wall));
            }
            prop_assert_eq!(begun.until(clock.now()), Duration::from_millis(steps.iter().sum()));
            prop_assert_eq!(clock.wall_at(clock.now()), Timestamp(wall));
            prop_assert_eq!(clock.wall_at(begun), Timestamp(start));
            prop_assert_eq!(clock.moment_at(Timestamp(start)), begun);
            prop_assert_eq!(clock.moment_at(Timestamp(wall + 7)), clock.now().after(Duration::from_millis(7)));
        }
    }
}
