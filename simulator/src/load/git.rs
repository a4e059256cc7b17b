//! Manifests of a git revision, read from the repository without a checkout.
//!
//! The program `git` is asked: it knows worktrees, packs, alternates and partial clones.

use super::LoadError;
use super::files::is_manifest;
use super::source::Revision;
use crate::config::is_config;
use netsim_shared::diagnostic::Diagnostic;
use netsim_shared::ingest::{Ingested, Keep, ingest_keeping};
use rayon::prelude::*;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A file of a revision.
struct Blob {
    /// What messages call it: `main:k8s/a.yaml`.
    name: String,
    /// The name of its content.
    id: String,
}

impl Blob {
    /// Its path in the revision.
    fn path(&self) -> &Path {
        Path::new(self.name.split_once(':').map_or(self.name.as_str(), |(_, path)| path))
    }
}

/// Reads a file, or what manifests a directory holds, as it is in a revision.
///
/// # Errors
/// When there is no git, no repository, no such revision, or no such path in it.
pub fn read(
    revision: &Revision,
    default_namespace: &str,
    keep: Keep,
    warn: &mut dyn FnMut(&Diagnostic),
) -> Result<Ingested, LoadError> {
    let blobs = find(revision, warn).map_err(LoadError::one)?;
    let contents = contents(revision, &blobs).map_err(LoadError::one)?;
    let files = blobs.par_iter().zip(contents).filter(|(blob, bytes)| !is_config(blob.path(), bytes));
    let read: Vec<Ingested> =
        files.map(|(blob, bytes)| ingest_keeping(&blob.name, &bytes, default_namespace, keep)).collect();
    let mut all = Ingested::default();
    read.into_iter().for_each(|one| all.extend(one));
    Ok(all)
}

fn git(arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    // Its messages are repeated; in one language they can be understood by whoever reads ours.
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn cannot_run(error: &std::io::Error) -> Diagnostic {
    let help = "a path that exists is read without git; REVISION:PATH needs it on the PATH";
    Diagnostic::error(format!("the program `git` cannot be run: {error}")).help(help)
}

/// What git prints, or what it says is wrong.
fn ask(arguments: &[&str]) -> Result<Result<Vec<u8>, String>, Diagnostic> {
    let Output { status, stdout, stderr } = git(arguments).output().map_err(|error| cannot_run(&error))?;
    Ok(if status.success() { Ok(stdout) } else { Err(said(&stderr)) })
}

/// The first line of what git says is wrong, without its own `fatal:`; hints follow it.
fn said(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("git says nothing");
    line.trim().trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned()
}

fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn find(revision: &Revision, warn: &mut dyn FnMut(&Diagnostic)) -> Result<Vec<Blob>, Diagnostic> {
    if let Err(message) = ask(&["rev-parse", "--git-dir"])? {
        let error = Diagnostic::error(format!("`{revision}` is no path here, and git cannot read it: {message}"));
        return Err(error.help("give a path that exists, or REVISION:PATH inside a git repository"));
    }
    let commit = format!("{}^{{tree}}", revision.revision);
    if ask(&["rev-parse", "--verify", "--end-of-options", &commit])?.is_err() {
        let error = Diagnostic::error(format!("git knows no revision `{}`", revision.revision));
        return Err(error.help(if is_shallow()? {
            "this clone is shallow: fetch the whole history with `git fetch --unshallow`, or in CI with depth 0 \
             (`fetch-depth: 0`)"
        } else {
            "`git fetch` brings what the remote has; a branch of it is called `origin/NAME`"
        }));
    }
    let named = revision.to_string();
    let id = match ask(&["rev-parse", "--verify", "--end-of-options", &named])? {
        Ok(id) => line(&id),
        Err(_) => {
            let help = "paths count from the root of the repository; with ./ in front from the current directory";
            let message = format!("the revision `{}` has no `{}`", revision.revision, revision.path);
            return Err(Diagnostic::error(message).help(help));
        }
    };
    let kind = ask(&["cat-file", "-t", &id])?.map(|kind| line(&kind));
    match kind.as_deref() {
        Ok("tree") => {}
        Ok("blob") => return Ok(vec![Blob { name: named, id }]),
        Ok(kind) => return Err(Diagnostic::error(format!("`{named}` is a {kind}, neither a file nor a directory"))),
        Err(message) => return Err(Diagnostic::error(format!("`{named}`: {message}"))),
    }
    let listed = ask(&["ls-tree", "-r", "-z", "--full-tree", &id])?
        .map_err(|message| Diagnostic::error(format!("`{named}` cannot be listed: {message}")))?;
    let base = match named.as_str() {
        whole if whole.ends_with([':', '/']) => whole.to_owned(),
        folder => format!("{folder}/"),
    };
    let mut blobs = Vec::new();
    for entry in listed.split(|byte| *byte == 0).filter(|entry| !entry.is_empty()) {
        let text = String::from_utf8_lossy(entry);
        let Some((head, path)) = text.split_once('\t') else {
            return Err(Diagnostic::error(format!("`{named}`: git lists `{text}`, which cannot be understood")));
        };
        let fields: Vec<&str> = head.split(' ').collect();
        let hidden = path.split('/').any(|name| name.starts_with('.'));
        let name = format!("{base}{path}");
        match fields.as_slice() {
            ["160000", ..] if !hidden => {
                warn(&Diagnostic::warning(format!("`{name}` is a submodule, whose files are not in this repository")));
            }
            _ if hidden || !is_manifest(path.as_ref()) => {}
            ["120000", ..] => {
                let warning = Diagnostic::warning(format!("`{name}` is a link, which is not followed in a revision"));
                warn(&warning.help("name the file that it leads to"));
            }
            [_, "blob", id] => blobs.push(Blob { name, id: (*id).to_owned() }),
            _ => return Err(Diagnostic::error(format!("`{named}`: git lists `{text}`, which cannot be understood"))),
        }
    }
    if blobs.is_empty() {
        let error = Diagnostic::error(format!("`{named}` holds no manifest"));
        return Err(error.help("files that end with .yaml, .yml or .json are read"));
    }
    Ok(blobs)
}

fn is_shallow() -> Result<bool, Diagnostic> {
    Ok(ask(&["rev-parse", "--is-shallow-repository"])?.is_ok_and(|answer| line(&answer) == "true"))
}

/// The contents of files, in their order.
fn contents(revision: &Revision, blobs: &[Blob]) -> Result<Vec<Vec<u8>>, Diagnostic> {
    let mut child = git(&["cat-file", "--batch"]).stdin(Stdio::piped()).spawn().map_err(|error| cannot_run(&error))?;
    let broken = |what: String| Diagnostic::error(format!("`{revision}` cannot be read: {what}"));
    let asked: String = blobs.iter().map(|blob| format!("{}\n", blob.id)).collect();
    let stdin = child.stdin.take();
    // Asked in a thread of its own: git answers while it is asked, and either pipe may be full.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(asked.as_bytes())));
        child.wait_with_output()
    });
    let output = output.map_err(|error| broken(error.to_string()))?;
    if !output.status.success() {
        return Err(broken(said(&output.stderr)));
    }
    let mut rest = output.stdout.as_slice();
    blobs.iter().map(|blob| next_content(&mut rest).map_err(|what| broken(format!("{}: {what}", blob.name)))).collect()
}

/// `ID blob SIZE`, the content, and a line break.
fn next_content(rest: &mut &[u8]) -> Result<Vec<u8>, String> {
    let end = rest.iter().position(|byte| *byte == b'\n').ok_or("git ended too early")?;
    let (head, after) = rest.split_at(end);
    let head = String::from_utf8_lossy(head).into_owned();
    let size = match head.split(' ').collect::<Vec<_>>().as_slice() {
        [_, "blob", size] => size.parse::<usize>().map_err(|_| format!("git answers `{head}`"))?,
        [_, "missing"] => return Err("the content is not in this clone; fetch it first".to_owned()),
        _ => return Err(format!("git answers `{head}`")),
    };
    let content = after.get(1..=size).ok_or("git ended too early")?;
    *rest = after.get(size + 2..).unwrap_or_default();
    Ok(content.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_follow_one_another() {
        let mut rest: &[u8] = b"aa blob 3\na\nb\nbb blob 0\n\ncc missing\n";
        assert_eq!(next_content(&mut rest), Ok(b"a\nb".to_vec()));
        assert_eq!(next_content(&mut rest), Ok(Vec::new()));
        assert_eq!(next_content(&mut rest), Err("the content is not in this clone; fetch it first".to_owned()));
        assert_eq!(next_content(&mut &b"aa blob 9\nshort"[..]), Err("git ended too early".to_owned()));
    }
}
