//! Runs the program and keeps what it answers.

pub use netsim_testkit::command::{Answer, Scratch, quiet, root, run, run_reading, scratch_pattern, text_of, words};
use std::fs;
use std::path::Path;

/// The built program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_netsim");

/// Runs `netsim` with these arguments, written as for a shell.
pub fn netsim(arguments: &str) -> Answer {
    run(&format!("netsim {arguments}"), quiet(PROGRAM).args(words(arguments)))
}

/// The same with something on standard input.
pub fn netsim_reading(arguments: &str, input: &str) -> Answer {
    run_reading(&format!("… | netsim {arguments}"), quiet(PROGRAM).args(words(arguments)), input)
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (entry, path) = entry.map(|entry| (entry.file_type().unwrap(), entry.path())).unwrap();
        let to = to.join(path.file_name().unwrap());
        if entry.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// Makes a folder a git repository with all that is in it on its branch, and on that of its remote: `origin/main`.
pub fn repository(folder: &Path) {
    for arguments in [
        "init --quiet --initial-branch=main",
        "add --all",
        "-c user.name=test -c user.email=test@example.com commit --quiet --message=first",
        "remote add origin .",
        "fetch --quiet origin",
    ] {
        let mut git = quiet("git");
        git.args(arguments.split(' ')).current_dir(folder).env("PATH", std::env::var_os("PATH").unwrap_or_default());
        run(&format!("git {arguments}"), &mut git).exits(0);
    }
}
