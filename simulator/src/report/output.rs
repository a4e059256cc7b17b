//! Where output goes: standard output, or a file that is there whole or not at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The path that stands for standard output.
pub const STDOUT: &str = "-";

/// Whether output to a path goes to a file.
pub fn is_file(path: &Path) -> bool {
    path != Path::new(STDOUT)
}

/// Writes to a file, or to standard output where the path is `-`. Colours go to terminals only.
///
/// # Errors
/// What writing gives.
pub fn to(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    if !is_file(path) {
        let mut out = BufWriter::new(anstream::stdout().lock());
        write(&mut out)?;
        return out.flush();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    let partial = Path::new(&name);
    let written = File::create(partial).and_then(|file| {
        let mut out = BufWriter::new(anstream::StripStream::new(file));
        write(&mut out)?;
        out.flush()
    });
    let moved = written.and_then(|()| std::fs::rename(partial, path));
    if moved.is_err() {
        // What is left of a failed attempt is of no use; that it cannot be removed changes nothing.
        _ = std::fs::remove_file(partial);
    }
    moved.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
