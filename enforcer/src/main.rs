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

/// The exit code of a run that cannot do what it was started for, wrong usage included.
const CANNOT: u8 = 2;

/// Will enforce Kubernetes NetworkPolicy on a node with nftables. This build enforces nothing yet.
#[derive(Debug, Parser)]
#[command(name = "netsim-enforcer", version)]
struct Args {}

fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os(), &mut std::io::stdout(), &mut std::io::stderr()))
}

/// Reads the arguments, says what there is to say, and gives the exit code.
fn run(args: impl IntoIterator<Item = OsString>, stdout: &mut impl Write, stderr: &mut impl Write) -> u8 {
    // Where nobody listens the exit code still tells it.
    match Args::try_parse_from(args) {
        Ok(Args {}) => _ = stderr.write_all(NOTHING_ENFORCED.as_bytes()),
        Err(wrong) if wrong.use_stderr() => _ = write!(stderr, "{wrong}"),
        // Help and version come this way, too.
        Err(asked) => {
            _ = write!(stdout, "{asked}");
            return 0;
        }
    }
    CANNOT
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(args: &[&str]) -> (u8, String, String) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let code = run(["netsim-enforcer"].iter().chain(args).map(OsString::from), &mut stdout, &mut stderr);
        (code, String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }

    #[test]
    fn it_says_that_nothing_is_enforced_and_fails() {
        assert_eq!(run_with(&[]), (2, String::new(), NOTHING_ENFORCED.to_owned()));
        assert!(NOTHING_ENFORCED.contains("no enforcement yet"));
        assert!(NOTHING_ENFORCED.contains("nothing was changed in the kernel"));
    }

    #[test]
    fn asking_for_the_version_is_no_failure_and_a_subcommand_is() {
        let version = concat!("netsim-enforcer ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(run_with(&["--version"]), (0, version.to_owned(), String::new()));
        let (code, stdout, stderr) = run_with(&["render"]);
        assert_eq!((code, stdout.as_str()), (2, ""));
        assert!(stderr.contains("render"), "{stderr}");
    }

    #[test]
    fn the_arguments_are_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
