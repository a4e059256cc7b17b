//! Runs the program and keeps what it answers.

use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_netsim");

/// The root of the repository. Everything runs there, so that paths in answers are relative.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The text of a file of the repository.
pub fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A directory which goes away with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("netsim-cli-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Matches the path of any scratch directory.
pub fn scratch_pattern() -> String {
    format!(r"{}/netsim-cli-\d+-\d+", std::env::temp_dir().display())
}

/// What the program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub command: String,
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\n[exit {}]\n--- stdout\n{}--- stderr\n{}", self.command, self.code, self.out, self.err)
    }
}

impl Answer {
    fn of(command: String, output: Output) -> Self {
        Answer {
            command,
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails with the whole answer unless the exit code is this.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Fails with the whole answer unless one of the streams has this.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(self.out.contains(part) || self.err.contains(part), "not said: {part}\n{self}");
        self
    }

    /// The standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

/// A command that finds nothing of the machine it runs on: no kubeconfig, no home, no variables.
pub fn quiet(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env_clear().env("HOME", "/nowhere").env("KUBECONFIG", "/nowhere/kubeconfig");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `netsim` with these arguments, written as for a shell.
pub fn netsim(arguments: &str) -> Answer {
    let output = quiet(PROGRAM).args(words(arguments)).output().unwrap();
    Answer::of(format!("netsim {arguments}"), output)
}

/// The same with something on standard input.
pub fn netsim_reading(arguments: &str, input: &str) -> Answer {
    let mut child = quiet(PROGRAM).args(words(arguments)).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A program that does not read to the end is no fault of the test's.
    let _ = pipe.write_all(input.as_bytes());
    drop(pipe);
    Answer::of(format!("… | netsim {arguments}"), child.wait_with_output().unwrap())
}

/// Runs a prepared command.
pub fn run(shown: &str, command: &mut Command) -> Answer {
    Answer::of(shown.to_owned(), command.output().unwrap())
}

/// The words of a line; single and double quotes keep one together.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut any) = (Vec::new(), String::new(), None, false);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => (quote, any) = (Some(c), true),
            (None, c) if c.is_whitespace() => {
                if any || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            (_, c) => word.push(c),
        }
    }
    if any || !word.is_empty() {
        words.push(word);
    }
    words
}
