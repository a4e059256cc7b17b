//! The node agent that will enforce NetworkPolicy with nftables.
//!
//! This build has no enforcement yet. It says so and fails, so that nobody who deploys it takes a
//! running process for a closed network.
#![forbid(unsafe_code)]

use clap::Parser;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

/// What running it says.
const NOTHING_ENFORCED: &str = "\
error: this build of netsim-enforcer has no enforcement yet
  = nothing was changed in the kernel: no policy is enforced on this node
  = help: `netsim` answers what the policies of a cluster allow, without enforcing them
";

/// The exit code of a run that cannot do what it was started for; clap's for wrong usage, too.
const CANNOT: u8 = 2;

/// Enforces Kubernetes NetworkPolicy on a node with nftables. This build enforces nothing yet.
#[derive(Debug, Parser)]
#[command(name = "netsim-enforcer", version, about)]
struct Args {}

fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os(), &mut std::io::stderr()))
}

/// Reads the arguments, says what there is to say, and gives the exit code.
fn run(args: impl IntoIterator<Item = OsString>, stderr: &mut dyn Write) -> u8 {
    match Args::try_parse_from(args) {
        Ok(Args {}) => {
            // Where standard error is closed the exit code still tells it.
            let _ = stderr.write_all(NOTHING_ENFORCED.as_bytes());
            CANNOT
        }
        Err(asked) => {
            // Help and version come this way, too; they go to standard output.
            let _ = asked.print();
            u8::try_from(asked.exit_code()).unwrap_or(CANNOT)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(args: &[&str]) -> (u8, String) {
        let mut stderr = Vec::new();
        let code = run(["netsim-enforcer"].iter().chain(args).map(OsString::from), &mut stderr);
        (code, String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn it_says_that_nothing_is_enforced_and_fails() {
        let (code, said) = run_with(&[]);
        assert_eq!(code, 2);
        assert!(said.contains("no enforcement yet"), "{said}");
        assert!(said.contains("nothing was changed in the kernel"), "{said}");
    }

    #[test]
    fn asking_for_the_version_is_no_failure_and_a_subcommand_is() {
        assert_eq!(run_with(&["--version"]), (0, String::new()));
        assert_eq!(run_with(&["render"]).0, 2);
    }

    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
