//! The command line of the enforcer from the outside: exit code, standard output and standard error of
//! the built program. `main` moves the whole process into a private network namespace before anything
//! else happens: tables are loaded there, and no agent but those of the tests listens.
#![allow(clippy::unwrap_used)]

mod agent;
mod kernel;
mod render;
mod run;
mod usage;

use libtest_mimic::{Arguments, Trial};

/// A test by its name.
pub(crate) type Test = (&'static str, fn());

/// Compares a whole answer with its snapshot; places that differ from run to run are masked.
macro_rules! assert_answer {
    ($name:expr, $answer:expr) => {{
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/enforcer_cli/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.add_filter(r"127\.0\.0\.1:\d{5}", "127.0.0.1:PORT");
        settings.add_filter(r"netlink port \d+", "netlink port PORT");
        settings.add_filter(r"version( +)\d+\.\d+\.\d+", "version${1}VERSION");
        settings.add_filter(&netsim_testkit::command::scratch_pattern(), "SCRATCH");
        settings.bind(|| insta::assert_snapshot!($name, $answer.to_string()));
    }};
}
pub(crate) use assert_answer;

fn main() {
    let arguments = Arguments::from_args();
    if !arguments.list {
        netsim_testkit::netns::enter();
    }
    let modules: [(&str, &[Test]); 4] =
        [("usage", &usage::TESTS), ("render", &render::TESTS), ("kernel", &kernel::TESTS), ("agent", &agent::TESTS)];
    let trials = modules.into_iter().flat_map(|(module, tests)| tests.iter().map(move |test| (module, *test)));
    let trials = trials.map(|(module, (name, test))| {
        Trial::test(format!("{module}::{name}"), move || {
            test();
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
