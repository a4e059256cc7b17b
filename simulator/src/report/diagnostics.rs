//! Messages about the input, on standard error.

use super::style;
use super::summary::shortened;
use crate::config::Setting;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::diagnostic::{Diagnostic, Severity};
use netsim_shared::object::ForeignPolicy;
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

/// Names the policies that were not understood (H2), and says whether there are any.
pub fn incomplete(index: &ClusterIndex) -> bool {
    let foreign: Vec<String> = index.foreign_policies().map(|p| foreign_name(p)).collect();
    if !foreign.is_empty() {
        let policies = if foreign.len() == 1 { "policy was" } else { "policies were" };
        say(&format!(
            "incomplete: {} {policies} not understood and could change this: {}",
            foreign.len(),
            shortened(&foreign, 5)
        ));
    }
    !foreign.is_empty()
}

/// What a policy that was not understood is called.
pub fn foreign_name(policy: &ForeignPolicy) -> String {
    let namespace = policy.namespace.as_ref().map_or(String::new(), |n| format!("{n}/"));
    format!("{} {namespace}{}", policy.kind, policy.name)
}
