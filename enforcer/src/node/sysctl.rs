//! Kernel settings of the network namespace.
//!
//! What is under `/proc/sys/net` belongs to the namespace of the thread that reads, whatever mount
//! it reads through; `/proc/net`, on the other hand, is that of the main thread of the process, and
//! `/proc/thread-self/net` is the right one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The files of a thread's network namespace.
pub(super) const THREAD_NET: &str = "/proc/thread-self/net";

/// Where settings are read and written.
#[derive(Debug, Clone)]
pub(super) struct Sysctls {
    root: PathBuf,
}

impl Sysctls {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The value of a setting, or `None` where the kernel has no such setting.
    pub(super) fn read(&self, path: &str) -> io::Result<Option<u64>> {
        let Some(text) = read_optional(&self.root.join(path))? else { return Ok(None) };
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(io::Error::other(format!("`{}` is not a number", text.trim()))),
        }
    }

    /// Sets a value and reads it back, because some settings take a write and ignore it.
    pub(super) fn set(&self, path: &str, value: u64) -> io::Result<()> {
        fs::write(self.root.join(path), value.to_string())?;
        match self.read(path)? {
            Some(now) if now == value => Ok(()),
            Some(now) => Err(io::Error::other(format!("it is still {now} after writing {value}"))),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The names below a directory, in order; none where there is no such directory.
    pub(super) fn children(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        match fs::read_dir(self.root.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(entries) => {
                for entry in entries {
                    names.push(entry?.file_name().to_string_lossy().into_owned());
                }
            }
        }
        names.sort();
        Ok(names)
    }
}

/// What a file holds, or `None` where there is none.
pub(super) fn read_optional(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// As it is written for `sysctl`.
pub(super) fn dotted(path: &str) -> String {
    path.replace('/', ".")
}
