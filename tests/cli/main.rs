//! The command line from the outside: exit code, standard output and standard error of the built
//! program. What a reader of the documentation would type is run here as well.
#![allow(clippy::unwrap_used)]

mod answers;
mod ci;
mod config;
mod connectivity;
mod diff;
mod documents;
mod generated;
mod input;
mod lint;
mod lists;
mod live;
mod names;
mod report;
mod run;
mod schemas;
mod shell;
mod shop;
mod suggest;

/// Compares a whole answer with its snapshot; places that differ from run to run are masked.
macro_rules! assert_answer {
    ($name:expr, $answer:expr) => {{
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/cli/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.add_filter(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT");
        settings.add_filter(&crate::run::scratch_pattern(), "SCRATCH");
        settings.bind(|| insta::assert_snapshot!($name, $answer.to_string()));
    }};
}
pub(crate) use assert_answer;
