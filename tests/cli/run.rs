//! Runs the program and keeps what it answers.

pub use netsim_testkit::command::{Answer, Scratch, quiet, root, run, run_reading, scratch_pattern, text_of, words};

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_netsim");

/// Runs `netsim` with these arguments, written as for a shell.
pub fn netsim(arguments: &str) -> Answer {
    run(&format!("netsim {arguments}"), quiet(PROGRAM).args(words(arguments)))
}

/// The same with something on standard input.
pub fn netsim_reading(arguments: &str, input: &str) -> Answer {
    run_reading(&format!("… | netsim {arguments}"), quiet(PROGRAM).args(words(arguments)), input)
}
