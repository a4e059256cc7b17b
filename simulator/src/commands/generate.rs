//! `netsim generate`

use crate::Failure;
use crate::args::{Cli, Generate, Generated};
use crate::config::schema::schema;
use crate::exit::Exit;
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

/// Writes the files.
pub fn run(args: &Generate) -> Result<Exit, Failure> {
    std::fs::create_dir_all(&args.out)?;
    match args.what {
        Generated::Man => clap_mangen::generate_to(Cli::command(), &args.out)?,
        Generated::Completions => {
            for shell in Shell::value_variants() {
                clap_complete::generate_to(*shell, &mut Cli::command(), "netsim", &args.out)?;
            }
        }
        Generated::ConfigSchema => {
            let mut program = Cli::command();
            program.build();
            let text = format!("{:#}\n", schema(&program));
            std::fs::write(args.out.join("config.schema.json"), text)?;
        }
    }
    Ok(Exit::Ok)
}
