//! `netsim completions`

use crate::Failure;
use crate::exit::Exit;
use std::io::Write;

/// Prints the script for a shell.
pub fn run(shell: clap_complete::Shell, mut command: clap::Command) -> Result<Exit, Failure> {
    // Not written straight out: `generate` panics when its reader has gone (`| head`).
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "netsim", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Ok)
}
