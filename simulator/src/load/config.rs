//! Finds and reads `netsim.yaml`.

use crate::config::{Config, FILE_NAME, file, is_manifest, trust};
use netsim_shared::diagnostic::Diagnostic;
use std::path::{Path, PathBuf};

/// The file that somebody named, or else the one of this folder or the nearest one above it.
///
/// # Errors
/// When the file cannot be read, or something in it is wrong.
pub fn load(named: Option<&Path>, program: &clap::Command) -> Result<Option<Config>, Vec<Diagnostic>> {
    let found = match named {
        Some(path) => Some((path.to_owned(), read(path)?)),
        None => find()?,
    };
    let Some((path, text)) = found else { return Ok(None) };
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let config = file::read(&text, &path.display().to_string(), folder, program)?;
    let objections = if named.is_none() { trust::objections(&config, program) } else { Vec::new() };
    if objections.is_empty() { Ok(Some(config)) } else { Err(objections) }
}

fn read(path: &Path) -> Result<String, Vec<Diagnostic>> {
    std::fs::read_to_string(path).map_err(|error| {
        let error = Diagnostic::error(format!("the configuration `{}` cannot be read: {error}", path.display()));
        vec![error.help("give another file with --config FILE, or none with --no-config")]
    })
}

/// The search ends where the repository ends, so that nothing from outside of it has a say.
fn find() -> Result<Option<(PathBuf, String)>, Vec<Diagnostic>> {
    // Without a working folder there is nothing to search.
    let Ok(here) = std::env::current_dir() else { return Ok(None) };
    let mut way = PathBuf::new();
    for folder in here.ancestors() {
        let path = way.join(FILE_NAME);
        if path.is_file() {
            let text = read(&path)?;
            // A manifest of that name is input, if anything.
            if !is_manifest(&text) {
                return Ok(Some((path, text)));
            }
        }
        if folder.join(".git").exists() {
            break;
        }
        way.push("..");
    }
    Ok(None)
}
