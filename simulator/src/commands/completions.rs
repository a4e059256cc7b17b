//! `netsim completions`

use crate::Failure;
use crate::exit::Exit;

/// Prints the script for a shell.
pub fn run(shell: clap_complete::Shell, mut command: clap::Command) -> Result<Exit, Failure> {
    clap_complete::generate(shell, &mut command, "netsim", &mut std::io::stdout());
    Ok(Exit::Ok)
}
