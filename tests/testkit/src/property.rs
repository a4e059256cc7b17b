//! Runs properties: the same inputs each time, or further ones where the environment asks for them.

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use std::fmt::Debug;

/// What a property says of an input.
pub type Checked = Result<(), TestCaseError>;

/// Runs a property on `cases` inputs, always the same. `PROPTEST_CASES` runs it on as many, from another seed each time;
/// `PROPTEST_RNG_SEED` repeats a run.
///
/// # Panics
/// With the smallest input found, when the property does not hold.
pub fn check<S: Strategy<Value: Debug>>(cases: u32, inputs: S, property: impl Fn(S::Value) -> Checked) {
    let mut config = Config { failure_persistence: None, max_shrink_iters: 4000, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
        if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
            config.rng_seed = RngSeed::Fixed(1);
        }
    }
    match TestRunner::new(config).run(&inputs, property) {
        Ok(()) => {}
        Err(TestError::Fail(why, input)) => panic!("{why}\nthe smallest input found:\n{input:?}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
