//! What is known of names on disk (`--dns-state`), so that a restart forgets nothing.

use super::Now;
use super::known::Known;
use super::seen::{self, Seen};
use netsim_shared::dns::Timestamp;
use netsim_shared::dns::store::{LoadError, Store, StoreOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

const FORMAT: &str = "netsim-dns-state";
const VERSION: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    format: String,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: String,
    version: u64,
    written: Timestamp,
    answers: Value,
    seen: seen::Saved,
}

/// Why a file was not read.
#[derive(Debug)]
pub enum ReadError {
    /// It could not be opened or read.
    Io(io::Error),
    /// It is no such file.
    Foreign,
    /// It was written by another version.
    Version(u64),
    /// It cannot be what was written.
    Damaged(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Io(error) => error.fmt(f),
            ReadError::Foreign => write!(f, "it is something else: `format` is not `{FORMAT}`"),
            ReadError::Version(version) => write!(f, "it has version {version}, and only version {VERSION} is known"),
            ReadError::Damaged(why) => write!(f, "it is damaged: {why}"),
        }
    }
}

/// What is known, as text to be written.
pub fn to_text(known: &Known, now: Now) -> String {
    let saved = Saved {
        format: FORMAT.to_owned(),
        version: VERSION,
        written: now.wall,
        answers: known.store().to_json(),
        seen: known.seen().to_saved(now),
    };
    // Keys are texts and values numbers: there is nothing that JSON could not say.
    serde_json::to_string(&saved).unwrap_or_default()
}

/// Puts a text in place of a file: all of it or nothing, and on disk when this returns. Only its owner may read it.
/// What could not be written to its end is taken away: on a full disk it would be in the way of others.
///
/// # Errors
/// When a file in that directory cannot be written.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    // One that a crash left behind may have other rights.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| std::fs::rename(&new, path)) {
        _ = std::fs::remove_file(&new);
        return Err(error);
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Reads what is known, and how far ahead of the clock it was written; `None` if there is no file. What is from the
/// future counts as written now (G3c).
///
/// # Errors
/// When it cannot be read, or is not what was written.
pub fn read(path: &Path, options: &StoreOptions, now: Now) -> Result<Option<(Known, Duration)>, ReadError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ReadError::Io(error)),
    };
    let damaged = |error: serde_json::Error| ReadError::Damaged(error.to_string());
    let value: Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    let header = Header::deserialize(&value).map_err(|_| ReadError::Foreign)?;
    if header.format != FORMAT {
        return Err(ReadError::Foreign);
    }
    if header.version != VERSION {
        return Err(ReadError::Version(header.version));
    }
    let saved = Saved::deserialize(&value).map_err(damaged)?;
    let loaded = Store::from_json(&saved.answers, options.clone(), now.wall).map_err(|error| match error {
        LoadError::Version(version) => ReadError::Version(version),
        LoadError::Foreign | LoadError::Corrupt(_) => ReadError::Damaged(error.to_string()),
    })?;
    let known = Known::from(loaded.store, Seen::from_saved(saved.seen, now), now);
    Ok(Some((known, saved.written.since(now.wall))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsim_shared::dns::answer::{Found, Outcome, Reading};
    use netsim_shared::dns::refuse::Refusals;
    use netsim_shared::net::Family;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::Instant;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("netsim-dns-state-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Directory(path)
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn now() -> Now {
        Now { wall: Timestamp(1_700_000_000_000), steady: Instant::now() }
    }

    fn known(now: Now) -> Known {
        let mut known = Known::new(StoreOptions::default(), now);
        let found = vec![Found { address: "198.51.100.1".parse().unwrap(), ttl: Duration::from_secs(600) }];
        let reading = Reading { outcome: Outcome::Addresses(found), chain: Vec::new(), ignored: 0 };
        let name = "api.example.com".parse().unwrap();
        _ = known.take(&name, Family::V4, reading, &Refusals::default(), |_| false, now);
        known
    }

    #[test]
    fn what_is_written_is_read() {
        let (directory, now) = (Directory::new("round"), now());
        let path = directory.0.join("state.json");
        assert!(read(&path, &StoreOptions::default(), now).unwrap().is_none());
        for _ in 0..2 {
            write(&path, &to_text(&known(now), now)).unwrap();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 1, "nothing is left behind");
        let read = |after: Duration| {
            let at = Now { wall: now.wall.after(after), steady: now.steady + after };
            let (known, ahead) = read(&path, &StoreOptions::default(), at).unwrap().unwrap();
            assert!(ahead.is_zero());
            let left: Vec<u64> = known.store().all().map(|(_, held)| held.left.as_secs()).collect();
            let seen = known.seen().matching(&"api.example.com".parse().unwrap(), at.steady).count();
            (left, seen)
        };
        assert_eq!(read(Duration::from_secs(60)), (vec![600], 1));
        assert_eq!(read(Duration::from_secs(660)), (vec![], 1));
        assert_eq!(read(Duration::from_secs(6 * 86_400)), (vec![], 0));
        // A clock that is behind keeps nothing for longer than it had.
        let hour = Duration::from_secs(3600);
        let at = Now { wall: now.wall.before(hour), steady: now.steady };
        let (known, ahead) = super::read(&path, &StoreOptions::default(), at).unwrap().unwrap();
        assert_eq!(
            (known.store().all().map(|(_, held)| held.left.as_secs()).collect::<Vec<_>>(), ahead),
            (vec![660], hour)
        );
    }

    #[test]
    fn what_is_no_state_is_told() {
        let (directory, now) = (Directory::new("wrong"), now());
        let path = directory.0.join("state.json");
        let good = to_text(&known(now), now);
        for (text, told) in [
            (String::new(), "damaged"),
            (good[..good.len() / 2].to_owned(), "damaged"),
            ("{}".to_owned(), "something else"),
            (good.replace("netsim-dns-state", "other"), "something else"),
            (
                good.replace(
                    "\"format\":\"netsim-dns-state\",\"version\":1",
                    "\"format\":\"netsim-dns-state\",\"version\":2",
                ),
                "version 2",
            ),
            (good.replace("198.51.100.1", "fd00::1"), "damaged"),
            (good.replace("api.example.com", "api"), "damaged"),
            (good.replace("\"seen\"", "\"more\""), "damaged"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let error = read(&path, &StoreOptions::default(), now).err().unwrap_or_else(|| panic!("read: {text}"));
            assert!(error.to_string().contains(told), "{error}: {text}");
        }
        assert!(matches!(read(&directory.0, &StoreOptions::default(), now), Err(ReadError::Io(_))));
    }
}
