//! What `lint` found, one file a form.

mod github;
mod gitlab;
mod json;
mod junit;
mod sarif;
mod text;

use crate::args::FindingFormat;
use crate::lint::Report;
use netsim_shared::diagnostic::Place;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// Writes what was found.
///
/// # Errors
/// What writing gives.
pub fn write(out: &mut dyn Write, report: &Report, format: FindingFormat) -> io::Result<()> {
    match format {
        FindingFormat::Text => text::write(out, report),
        FindingFormat::Json => json::write(out, report),
        FindingFormat::Sarif => sarif::write(out, report),
        FindingFormat::Github => github::write(out, report),
        FindingFormat::Gitlab => gitlab::write(out, report),
        FindingFormat::Junit => junit::write(out, report),
    }
}

/// The page of a rule on the web.
fn page_of(id: &str) -> String {
    format!("{}/blob/main/docs/lints/{id}.md", env!("CARGO_PKG_REPOSITORY"))
}

/// Where a place is in the repository that netsim runs in: what code hosts want is a path from its
/// root. `None` for what is in no file: standard input and live clusters.
fn file_in_repository(place: &Place, root: &Root) -> Option<String> {
    let path = Path::new(place.source.as_ref());
    if !path.exists() {
        return None;
    }
    let absolute = if path.is_absolute() { path.to_owned() } else { root.here.join(path) };
    let plain = without_dots(&absolute);
    let within = plain.strip_prefix(&root.top).unwrap_or(&plain);
    Some(within.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/"))
}

/// The working directory, and the root of the repository that it lies in.
struct Root {
    here: PathBuf,
    top: PathBuf,
}

impl Root {
    fn find() -> Root {
        let here = std::env::current_dir().unwrap_or_default();
        let top = here.ancestors().find(|folder| folder.join(".git").exists()).unwrap_or(&here).to_owned();
        Root { here, top }
    }
}

fn without_dots(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = out.pop(),
            other => out.push(other),
        }
    }
    out
}
