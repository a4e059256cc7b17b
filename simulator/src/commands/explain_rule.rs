//! `netsim explain-rule`

use crate::Failure;
use crate::args::ExplainRule;
use crate::exit::Exit;
use crate::lint::{self, RULES};
use crate::load::LoadError;
use std::io::Write;

/// Prints a rule's page, or the table of rules.
pub fn run(args: &ExplainRule) -> Result<Exit, Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match &args.rule {
        Some(word) => {
            let rule = lint::rule(word).map_err(|error| LoadError(vec![error]))?;
            out.write_all(rule.page.as_bytes())?;
        }
        None => {
            let width = RULES.iter().map(|rule| rule.name.len()).max().unwrap_or(0);
            for rule in RULES {
                writeln!(out, "{}  {:7}  {:width$}  {}", rule.id, rule.severity.as_str(), rule.name, rule.summary)?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Ok)
}
