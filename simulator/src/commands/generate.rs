//! `netsim generate`

use crate::Failure;
use crate::args::{Cli, Generate, Generated};
use crate::commands::completions::shown;
use crate::config::schema::schema;
use crate::exit::Exit;
use crate::report::man;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

/// Writes the files.
pub fn run(args: &Generate) -> Result<Exit, Failure> {
    std::fs::create_dir_all(&args.out)?;
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    match args.what {
        Generated::Man => {
            for (name, page) in man::pages(&program)? {
                std::fs::write(args.out.join(name), page)?;
            }
        }
        Generated::Completions => {
            for shell in Shell::value_variants() {
                clap_complete::generate_to(*shell, &mut shown(&Cli::command()), "netsim", &args.out)?;
            }
        }
        Generated::ConfigSchema => {
            let text = format!("{:#}\n", schema(&program));
            std::fs::write(args.out.join("config.schema.json"), text)?;
        }
    }
    Ok(Exit::Ok)
}
