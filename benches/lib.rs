//! The clusters that the benches in `benches/*.rs` share.

use netsim_testkit::synthetic::Synthetic;

/// A synthetic cluster by its number of pods. Up to 3,000 they are those of the published figures
/// (10 namespaces of 8 policies); above, there are 100 pods and 10 policies to a namespace.
pub fn cluster(pods: usize) -> Synthetic {
    if pods <= 3_000 { Synthetic::new(pods, 10, 8) } else { Synthetic::new(pods, pods / 100, 10) }
}
