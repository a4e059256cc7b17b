//! How long to wait after a failure.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;
use tokio::time::Instant;

/// The first wait: a node that cannot hear of policies wants to hear of them soon.
pub const FIRST: Duration = Duration::from_millis(200);
/// The longest wait.
pub const LONGEST: Duration = Duration::from_secs(10);
/// Without a failure for so long, the next one counts as the first.
const QUIET: Duration = Duration::from_secs(30);

/// How many objects the server is given to send in a second after it has lost what watches go on from: see
/// [`before_list`].
const OBJECTS_A_SECOND: f64 = 10_000.0;

/// How long to wait at most before everything is asked for again, by how much that is.
///
/// When an API server starts anew, its memory of changes does as well, and all nodes of a cluster have to list at
/// once what they have watched. What is known stays in force meanwhile, so they can wait for each other: not in a
/// small cluster, a few seconds in a large one.
pub fn before_list(objects: usize) -> Duration {
    LONGEST.min(Duration::from_secs_f64(objects as f64 / OBJECTS_A_SECOND))
}

/// Waits that double from `FIRST` to a longest one, each shortened by up to a half at random, so
/// that the nodes of a cluster do not come back all at once.
///
/// A single success does not start it over: a server that answers the first of two questions and
/// fails at the second would be asked without pause.
#[derive(Debug)]
pub struct Backoff {
    last: Option<(Instant, Duration)>,
    longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Backoff {
    /// With another longest wait than `LONGEST`.
    pub fn up_to(longest: Duration) -> Self {
        Backoff { last: None, longest }
    }

    /// Between nothing and all of a time.
    pub fn at_random(time: Duration) -> Duration {
        // A hasher's keys are the only randomness that the standard library has.
        let random = RandomState::new().hash_one(()) >> 32;
        time.mul_f64(random as f64 / f64::from(u32::MAX))
    }

    /// The wait after a failure that happened now.
    pub fn pause(&mut self) -> Duration {
        let now = Instant::now();
        let full = match self.last {
            Some((at, wait)) if now.duration_since(at) < QUIET + wait => self.longest.min(wait * 2),
            _ => FIRST,
        };
        self.last = Some((now, full));
        shortened(full)
    }
}

/// Between a half and all of a time.
fn shortened(time: Duration) -> Duration {
    time / 2 + Backoff::at_random(time / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_before_a_list_grows_with_the_cluster_up_to_a_bound() {
        assert_eq!(before_list(0), Duration::ZERO);
        assert!(before_list(100) <= Duration::from_millis(10));
        assert_eq!(before_list(50_000), Duration::from_secs(5));
        assert_eq!(before_list(1_000_000), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_a_bound_and_start_over_when_it_was_quiet() {
        let mut backoff = Backoff::default();
        let mut expected = FIRST;
        for _ in 0..12 {
            let wait = backoff.pause();
            assert!(wait >= expected / 2 && wait <= expected, "{wait:?} of {expected:?}");
            tokio::time::advance(wait).await;
            expected = LONGEST.min(expected * 2);
        }
        assert_eq!(expected, LONGEST);
        tokio::time::advance(QUIET + LONGEST).await;
        assert!(backoff.pause() <= FIRST);
    }
}
