//! Runs the program, and nft, and keeps what they answer.

pub use netsim_testkit::command::{Answer, Scratch, quiet, run, text_of};
use netsim_testkit::command::{run_reading, words};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_netsim-enforcer");
/// Two nodes with pods, and their policies.
pub const CLUSTER: &str = "tests/enforcer_cli/data/cluster.yaml";

/// Runs `netsim-enforcer` with these arguments, written as for a shell.
pub fn enforcer(arguments: &str) -> Answer {
    run(&format!("netsim-enforcer {arguments}"), quiet(PROGRAM).args(words(arguments)))
}

/// The same with something on standard input.
pub fn enforcer_reading(arguments: &str, input: &str) -> Answer {
    run_reading(&format!("… | netsim-enforcer {arguments}"), quiet(PROGRAM).args(words(arguments)), input)
}

/// A network namespace which goes away with the test.
pub struct Namespace(String);

impl Namespace {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("cli-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        run("ip netns add", Command::new("ip").args(["netns", "add", &name])).exits(0);
        Self(name)
    }

    /// Its name for `ip netns`.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// What to give to `--netns`.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }

    /// Runs nft inside.
    pub fn nft(&self, arguments: &str) -> Answer {
        run(&format!("nft {arguments}"), self.inside().args(words(arguments)))
    }

    /// Loads a ruleset as text.
    pub fn load(&self, text: &str) {
        run_reading("nft -f -", self.inside().args(["-f", "-"]), text).exits(0);
    }

    /// Runs `netsim-enforcer` on what is inside; how that is said is left out of the answer.
    pub fn enforcer(&self, arguments: &str) -> Answer {
        let mut command = quiet(PROGRAM);
        command.args(words(arguments)).args(["--netns", &self.path()]);
        run(&format!("netsim-enforcer {arguments}"), &mut command)
    }

    fn inside(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, "nft"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}
