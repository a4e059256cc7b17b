//! `netsim-enforcer`: the node agent and what goes with it.

use clap::Parser;
use netsim_enforcer::args::{Cli, Command};
use netsim_enforcer::commands::{self, CANNOT};
use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => commands::run::run(&args),
        Command::Render(args) => commands::render::run(&args),
        Command::Verify(args) => commands::verify::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Flows(args) => commands::flows::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Cleanup(args) => commands::cleanup::run(&args),
        Command::PrepareNode(args) => commands::prepare_node::run(&args),
    };
    ExitCode::from(done.unwrap_or_else(|failure| {
        failure.0.iter().for_each(|line| eprintln!("{line}"));
        CANNOT
    }))
}
