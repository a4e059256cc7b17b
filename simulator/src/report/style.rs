//! The few colours. `anstream` takes them off where the output is no terminal.

use anstyle::{AnsiColor, Style};
use netsim_shared::assertion::Status;
use netsim_shared::difference::Kind;
use netsim_shared::query::Verdict;

/// Names of rules and places, kept quiet.
pub const QUIET: Style = Style::new().dimmed();
/// Headings.
pub const BOLD: Style = Style::new().bold();
/// Errors.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Warnings.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();

/// The colour of what came of a test.
pub fn status(status: Status) -> Style {
    match status {
        Status::Ok => AnsiColor::Green.on_default().bold(),
        Status::Failed => AnsiColor::Red.on_default().bold(),
        Status::Unknown => AnsiColor::Yellow.on_default().bold(),
    }
}

/// The colour of a verdict.
pub fn verdict(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Allowed => AnsiColor::Green.on_default().bold(),
        Verdict::Denied => AnsiColor::Red.on_default().bold(),
        Verdict::Mixed | Verdict::Unknown => AnsiColor::Yellow.on_default().bold(),
    }
}

/// The colour of what became of a connection.
pub fn change(kind: Kind) -> Style {
    match kind {
        Kind::Opened => AnsiColor::Green.on_default().bold(),
        Kind::Closed => AnsiColor::Red.on_default().bold(),
        Kind::Changed | Kind::Unknown => AnsiColor::Yellow.on_default().bold(),
    }
}
