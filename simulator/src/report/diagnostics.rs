//! Messages about the input, on standard error.

use super::style;
use crate::config::Setting;
use netsim_shared::diagnostic::{Diagnostic, Severity};
use netsim_shared::query::QueryError;

/// Prints one.
pub fn print(diagnostic: &Diagnostic) {
    let text = diagnostic.to_string();
    let (word, style) = match diagnostic.severity {
        Severity::Error => ("error", style::ERROR),
        Severity::Warning => ("warning", style::WARNING),
    };
    let rest = text.strip_prefix(word).unwrap_or(&text);
    anstream::eprintln!("{style}{word}{style:#}{rest}");
}

/// Prints all, and how many errors there were.
pub fn print_all(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        print(diagnostic);
    }
    let errors = diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    if errors > 1 {
        say(&format!("{errors} errors; nothing was answered"));
    }
}

/// Prints what is wrong with a question.
pub fn print_question(error: &QueryError) {
    let mut diagnostic = Diagnostic::error(error.message.clone());
    diagnostic.help = error.help.clone();
    print(&diagnostic);
}

/// Prints why the output could not be written.
pub fn print_output(error: &std::io::Error) {
    print(&Diagnostic::error(format!("the output cannot be written: {error}")));
}

/// Prints what was not typed but comes from a configuration, for the one who wonders.
pub fn print_settings(settings: &[Setting]) {
    let shown = settings.iter().map(|setting| format!("{} (line {})", setting.argument, setting.place.line));
    if let Some(first) = settings.first() {
        say(&format!("note: {} adds {}", first.place.source, shown.collect::<Vec<_>>().join(", ")));
    }
}

/// Says something that is neither error nor warning.
pub fn say(text: &str) {
    anstream::eprintln!("{text}");
}
