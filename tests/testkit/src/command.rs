//! Programs from the outside: run with arguments as one would type them, and everything that they answer.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The root of the repository. Everything runs there, so that paths in answers are relative.
pub fn root() -> PathBuf {
    let testkit = Path::new(env!("CARGO_MANIFEST_DIR"));
    testkit.ancestors().nth(2).unwrap_or(testkit).to_owned()
}

/// The text of a file of the repository.
///
/// # Panics
/// If it cannot be read.
pub fn text_of(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A directory which goes away with the test.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new one, empty.
    ///
    /// # Panics
    /// If it cannot be made.
    #[expect(clippy::new_without_default, reason = "it makes a directory, which nobody expects of a default")]
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("netsim-cli-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it, and gives its path.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path.display().to_string()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

/// Matches the path of any scratch directory.
pub fn scratch_pattern() -> String {
    format!(r"{}/netsim-cli-\d+-\d+", std::env::temp_dir().display())
}

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was typed.
    pub command: String,
    /// Its exit code.
    pub code: i32,
    /// What it wrote on standard output.
    pub out: String,
    /// What it wrote on standard error.
    pub err: String,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$ {}\n[exit {}]\n--- stdout\n{}--- stderr\n{}", self.command, self.code, self.out, self.err)
    }
}

impl Answer {
    /// What came out.
    ///
    /// # Panics
    /// If it is no UTF-8.
    pub fn of(command: impl Into<String>, output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap_or_else(|error| panic!("not UTF-8: {error}"));
        Answer {
            command: command.into(),
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }

    /// Fails with the whole answer unless the exit code is this.
    ///
    /// # Panics
    /// If it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Fails with the whole answer unless one of the streams has this.
    ///
    /// # Panics
    /// If none has.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        assert!(self.out.contains(part) || self.err.contains(part), "not said: {part}\n{self}");
        self
    }

    /// The standard output as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

/// A command that finds nothing of the machine it runs on: no kubeconfig, no home, no variables.
pub fn quiet(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).env_clear().env("HOME", "/nowhere").env("KUBECONFIG", "/nowhere/kubeconfig");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a prepared command; `shown` is what was typed.
///
/// # Panics
/// If it cannot be started.
pub fn run(shown: &str, command: &mut Command) -> Answer {
    Answer::of(shown, command.output().unwrap_or_else(|error| panic!("{shown}: {error}")))
}

/// The same with something on standard input.
///
/// # Panics
/// If it cannot be started.
pub fn run_reading(shown: &str, command: &mut Command, input: &str) -> Answer {
    let child = command.stdin(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{shown}: {error}"));
    if let Some(mut pipe) = child.stdin.take() {
        // A program that does not read to the end is no fault of the test's.
        _ = pipe.write_all(input.as_bytes());
    }
    Answer::of(shown, child.wait_with_output().unwrap_or_else(|error| panic!("{shown}: {error}")))
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
