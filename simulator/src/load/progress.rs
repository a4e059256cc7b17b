//! What takes long says so, on a terminal's standard error only.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Says nothing in the first second, and then what is going on, on one line.
pub struct Progress {
    start: Instant,
    last: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// Starts the clock.
    pub fn new() -> Self {
        Progress { start: Instant::now(), last: None, terminal: std::io::stderr().is_terminal() }
    }

    /// Says what is being done, if it is time to.
    pub fn say(&mut self, what: impl FnOnce() -> String) {
        let due = self.last.map_or(self.start + Duration::from_secs(1), |last| last + Duration::from_millis(100));
        if self.terminal && Instant::now() >= due {
            self.last = Some(Instant::now());
            // Progress that cannot be shown is no reason to fail.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{} …", what());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.last.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}
