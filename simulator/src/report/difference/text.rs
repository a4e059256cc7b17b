//! A difference for people.

use super::{Names, Places, count, headline, lone, policies, ports, reasons, shown, word};
use crate::report::style;
use netsim_shared::difference::{Difference, Kind};
use std::io::{self, Write};

/// Writes it: the headline, what changed and why, what came and what went.
pub fn write(out: &mut dyn Write, difference: &Difference) -> io::Result<()> {
    let (bold, quiet) = (style::BOLD, style::QUIET);
    writeln!(out, "{bold}{}{bold:#}", headline(difference))?;
    if let Some(policies) = policies(difference) {
        writeln!(out, "{quiet}{policies}{quiet:#}")?;
    }
    let names = Names::new(difference);
    let mut places = Places::default();
    for change in &difference.changes {
        let colour = style::change(change.kind);
        let incomplete = if change.incomplete { ", incomplete" } else { "" };
        let several = match difference.count(change) {
            n if n > 1 && change.kind != Kind::Unknown => format!("  {quiet}{}{quiet:#}", count(n, "connection")),
            _ => String::new(),
        };
        writeln!(
            out,
            "\n{colour}{}{incomplete}{colour:#}  {} → {}  {bold}{}{bold:#}{several}",
            word(change.kind),
            names.sources(change),
            names.destinations(change),
            ports(change)
        )?;
        for reason in reasons(difference, change, &mut places) {
            let place = reason.place.map_or(String::new(), |place| format!("  {quiet}{}{quiet:#}", shown(&place)));
            writeln!(out, "  {}: {}{place}", reason.direction, reason.text)?;
        }
    }
    for (side, what) in [(&difference.lone.new, "added"), (&difference.lone.old, "removed")] {
        for workload in lone(side) {
            writeln!(out, "\n{bold}{what}{bold:#}  {}", workload.name)?;
            if workload.rows.is_empty() {
                writeln!(out, "  {quiet}no connection{quiet:#}")?;
            }
            for (way, who, ports) in workload.rows {
                writeln!(out, "  {ports}  {quiet}{way}{quiet:#} {who}")?;
            }
        }
    }
    Ok(())
}
