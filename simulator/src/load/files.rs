//! Manifests from files, directories, globs and standard input.

use super::LoadError;
use super::progress::Progress;
use crate::config;
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::ingest::{Ingested, Keep, ingest_keeping};
use rayon::prelude::*;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Reads everything that the arguments name, in their order; what a directory or glob holds is
/// sorted by name. All that is wrong is reported together.
///
/// # Errors
/// When a path cannot be read, or names nothing.
pub fn read(
    arguments: &[String],
    default_namespace: &str,
    keep: Keep,
    progress: &mut Progress,
) -> Result<Ingested, LoadError> {
    let mut sources: Vec<Source> = Vec::new();
    let mut wrong = Vec::new();
    for argument in arguments {
        match find(argument) {
            Ok(found) => sources.extend(found),
            Err(diagnostic) => wrong.push(diagnostic),
        }
    }
    // A file that two arguments name is read once, where it came last: later objects replace earlier.
    let mut seen = std::collections::HashSet::new();
    sources.reverse();
    sources.retain(|source| seen.insert(source.clone()));
    sources.reverse();
    progress.say(|| format!("reading {} files", sources.len()));
    let read: Vec<Result<Ingested, Diagnostic>> =
        sources.par_iter().map(|source| read_one(source, default_namespace, keep)).collect();
    let mut all = Ingested::default();
    for one in read {
        match one {
            Ok(ingested) => all.extend(ingested),
            Err(diagnostic) => wrong.push(diagnostic),
        }
    }
    if !wrong.is_empty() {
        wrong.append(&mut all.diagnostics);
        return Err(LoadError(wrong));
    }
    Ok(all)
}

/// Whether something is piped into standard input.
pub fn stdin_is_piped() -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        // A terminal or /dev/null holds no manifests; a pipe or a redirected file may.
        std::fs::metadata("/dev/stdin").is_ok_and(|m| m.file_type().is_fifo() || m.file_type().is_file())
    }
    #[cfg(not(unix))]
    {
        use std::io::IsTerminal;
        !std::io::stdin().is_terminal()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Source {
    Stdin,
    File(PathBuf),
}

fn read_one(source: &Source, default_namespace: &str, keep: Keep) -> Result<Ingested, Diagnostic> {
    match source {
        Source::Stdin => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| Diagnostic::error(format!("standard input cannot be read: {error}")))?;
            if bytes.iter().all(u8::is_ascii_whitespace) {
                let error = Diagnostic::error("standard input is empty");
                return Err(error.help("pipe manifests into netsim, or name files with -f PATH"));
            }
            Ok(ingest_keeping("<stdin>", &bytes, default_namespace, keep))
        }
        Source::File(path) => {
            let bytes = std::fs::read(path).map_err(|error| cannot(path, &error))?;
            if config::is_config(path, &bytes) {
                return Ok(Ingested::default());
            }
            Ok(ingest_keeping(&path.display().to_string(), &bytes, default_namespace, keep))
        }
    }
}

fn cannot(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::error(format!("`{}` cannot be read: {error}", path.display()))
}

/// What is looked for in directories.
struct Wanted {
    is_wanted: fn(&Path) -> bool,
    what: &'static str,
    help: &'static str,
}

/// Whether a file of a directory is read.
pub fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e.eq_ignore_ascii_case(known)))
}

const MANIFESTS: Wanted =
    Wanted { is_wanted: is_manifest, what: "manifest", help: "files that end with .yaml, .yml or .json are read" };

const TESTS: Wanted = Wanted {
    is_wanted: |path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        name.ends_with(".netsim.yaml") || name.ends_with(".netsim.yml")
    },
    what: "file of tests",
    help: "files that end with .netsim.yaml are looked for; a file of another name is named itself",
};

fn find(argument: &str) -> Result<Vec<Source>, Diagnostic> {
    if argument == "-" {
        return Ok(vec![Source::Stdin]);
    }
    let help = "give a file, a directory, a glob in quotes, or - for standard input";
    Ok(paths(argument, &MANIFESTS, help)?.into_iter().map(Source::File).collect())
}

/// The files of tests that arguments name, each once. All that is wrong is reported together.
///
/// # Errors
/// When an argument names nothing.
pub fn tests(arguments: &[String]) -> Result<Vec<PathBuf>, LoadError> {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for argument in arguments {
        match paths(argument, &TESTS, "give a file, a directory or a glob in quotes") {
            Ok(paths) => found.extend(paths),
            Err(diagnostic) => wrong.push(diagnostic),
        }
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    if wrong.is_empty() { Ok(found) } else { Err(LoadError(wrong)) }
}

/// Whether an argument names manifests.
///
/// # Errors
/// When it names nothing.
pub fn look(argument: &str) -> Result<(), Diagnostic> {
    find(argument).map(drop)
}

/// The text of a file.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn text(path: &Path) -> Result<String, Diagnostic> {
    let bytes = std::fs::read(path).map_err(|error| cannot(path, &error))?;
    String::from_utf8(bytes).map_err(|_| Diagnostic::error(format!("`{}` is not UTF-8 text", path.display())))
}

fn paths(argument: &str, wanted: &Wanted, help: &str) -> Result<Vec<PathBuf>, Diagnostic> {
    let path = Path::new(argument);
    if path.is_dir() {
        return directory(path, wanted);
    }
    if path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    if !argument.contains(['*', '?', '[']) {
        return Err(Diagnostic::error(format!("`{argument}` does not exist")).help(help));
    }
    let matches =
        glob::glob(argument).map_err(|error| Diagnostic::error(format!("`{argument}` is not a glob: {error}")))?;
    let mut found = Vec::new();
    for path in matches {
        let path = path.map_err(|error| Diagnostic::error(format!("`{argument}`: {error}")))?;
        if path.is_dir() {
            found.extend(directory(&path, wanted)?);
        } else {
            found.push(path);
        }
    }
    if found.is_empty() { Err(Diagnostic::error(format!("`{argument}` matches no file"))) } else { Ok(found) }
}

/// What is wanted of a directory and those below it. Hidden folders (`.git`) are left out.
fn directory(root: &Path, wanted: &Wanted) -> Result<Vec<PathBuf>, Diagnostic> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| cannot(&folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| cannot(&folder, &error))?;
            let path = entry.path();
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            // Links to folders are not followed: they may lead back here.
            let kind = entry.file_type().map_err(|error| cannot(&path, &error))?;
            if kind.is_dir() && !hidden {
                open.push(path);
            } else if (wanted.is_wanted)(&path) && !hidden && !kind.is_dir() && path.is_file() {
                found.push(path);
            }
        }
    }
    if found.is_empty() {
        let error = Diagnostic::error(format!("`{}` holds no {}", root.display(), wanted.what));
        return Err(error.help(wanted.help));
    }
    found.sort();
    Ok(found)
}
