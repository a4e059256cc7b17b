//! `netsim completions`

use crate::Failure;
use crate::exit::Exit;
use clap::Command;
use std::io::Write;

/// Prints the script for a shell.
pub fn run(shell: clap_complete::Shell, command: &Command) -> Result<Exit, Failure> {
    // Not written straight out: `generate` panics when its reader has gone (`| head`).
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(command), "netsim", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Ok)
}

/// The command line without the commands that are hidden: clap would complete them.
pub fn shown(program: &Command) -> Command {
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let named = Command::new("netsim").propagate_version(true);
    named
        .version(env!("CARGO_PKG_VERSION"))
        .about(program.get_about().cloned().unwrap_or_default())
        .args(program.get_arguments().cloned())
        .subcommands(commands)
}
