//! What a file may not say that nobody named: it may be part of a repository which somebody else wrote.

use super::settings::is_path;
use super::{Config, Entry, commands, options};
use clap::Command;
use netsim_shared::diagnostic::Diagnostic;
use std::path::{Component, Path};

/// Options with which a stranger could run programs or write where it hurts. A file that was named may set them freely.
pub fn objections(config: &Config, program: &Command) -> Vec<Diagnostic> {
    config.entries.iter().filter_map(|entry| objection(entry, program)).collect()
}

fn objection(entry: &Entry, program: &Command) -> Option<Diagnostic> {
    let key = entry.key.as_str();
    let is_path = || commands(program).flat_map(options).any(|(long, arg)| long == key && is_path(arg));
    let (message, help) = match key {
        // It can have a program run to log in.
        "kubeconfig" => (
            "`kubeconfig` is not taken from a configuration that was only found: it can name programs to run"
                .to_owned(),
            "set the variable KUBECONFIG, or give --kubeconfig, or name this file with --config",
        ),
        // It is only read.
        "filename" => return None,
        _ if is_path() && entry.value.values().iter().any(|(path, _)| leads_out(path)) => (
            format!("`{key}` of a configuration that was only found has to stay in its folder"),
            "write a relative path without `..`, or name this file with --config",
        ),
        _ => return None,
    };
    Some(Diagnostic::error(message).at(entry.value.place().clone()).help(help))
}

fn leads_out(path: &str) -> bool {
    let within = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    !Path::new(path).components().all(within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_out_or_stays() {
        for path in ["/etc/x", "../x", "a/../../x", "a/.."] {
            assert!(leads_out(path), "{path}");
        }
        for path in ["x", "./x", "a/b.html", "-"] {
            assert!(!leads_out(path), "{path}");
        }
    }
}
