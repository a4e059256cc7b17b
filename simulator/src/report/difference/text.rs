//! A difference for people.

use super::{Names, Places, count, entries, headline, lines, lone, policies, ports, shown, word};
use crate::report::style;
use netsim_shared::difference::Difference;
use std::io::{self, Write};

/// How many changes are shown.
const CHANGES: usize = 40;

/// Writes it: the headline, what changed and why, what came and what went.
pub fn write(out: &mut dyn Write, difference: &Difference) -> io::Result<()> {
    let (bold, quiet) = (style::BOLD, style::QUIET);
    writeln!(out, "{bold}{}{bold:#}", headline(difference))?;
    if let Some(policies) = policies(difference) {
        writeln!(out, "{quiet}{policies}{quiet:#}")?;
    }
    let names = Names::new(difference);
    let mut places = Places::default();
    let entries = entries(difference, CHANGES);
    for entry in entries.iter().take(CHANGES) {
        let change = &entry.change;
        let colour = style::change(change.kind);
        let incomplete = if change.incomplete { ", incomplete" } else { "" };
        let size = entry.size(difference).map_or(String::new(), |size| format!("  {quiet}{size}{quiet:#}"));
        writeln!(
            out,
            "\n{colour}{}{incomplete}{colour:#}  {} → {}  {bold}{}{bold:#}{size}",
            word(change.kind),
            names.sources(change),
            names.destinations(change),
            ports(change)
        )?;
        for line in lines(difference, &names, change, &mut places) {
            let place = line.place.map_or(String::new(), |place| format!("  {quiet}{}{quiet:#}", shown(&place)));
            writeln!(out, "  {}: {}{place}", line.about, line.text)?;
        }
    }
    if entries.len() > CHANGES {
        let more = count(entries.len() - CHANGES, "more change");
        writeln!(out, "\nand {more}; -n and --port show less, -o json everything")?;
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
