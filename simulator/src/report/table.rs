//! The table of who reaches whom: rows are sources, columns destinations.

use super::answer_json::{ForeignJson, SCHEMA_VERSION};
use super::connections::{Connections, UnknownPair, cell, csv_error};
use netsim_shared::list::{Entity, Reach};
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

/// A table that was filled in.
pub struct Table {
    rows: Vec<String>,
    columns: Vec<String>,
    cells: Vec<Vec<Cell>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    /// The pod itself.
    Own,
    /// Nothing is open.
    Closed,
    /// It cannot be told.
    Unknown,
    /// Nobody asked: neither end is in the wanted namespaces, or both are outside the cluster.
    NotAsked,
    /// Everything that was asked about is open.
    Open,
    /// Some ports are open.
    Some(String),
}

impl Cell {
    fn text(&self) -> &str {
        match self {
            Cell::Own => "=",
            Cell::Closed => ".",
            Cell::Unknown => "?",
            Cell::NotAsked => "",
            Cell::Open => "✓",
            Cell::Some(ports) => ports,
        }
    }

    /// The word for programs.
    fn word(&self) -> Option<&'static str> {
        match self {
            Cell::Own | Cell::Open => Some("allowed"),
            Cell::Closed => Some("denied"),
            Cell::Unknown => Some("unknown"),
            Cell::Some(_) => Some("some"),
            Cell::NotAsked => None,
        }
    }
}

/// The table for programs.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct TableJson<'t> {
    schema_version: &'static str,
    port: Option<String>,
    sources: &'t [String],
    destinations: &'t [String],
    verdicts: Vec<Vec<Option<&'static str>>>,
    incomplete: Vec<ForeignJson>,
}

impl Table {
    /// Fills the table in.
    pub fn of(connections: &Connections<'_>) -> (Table, Vec<UnknownPair>) {
        let filter = connections.filter;
        // With a namespace asked for, what is elsewhere is shown only where it has to do with it.
        let mut touched: HashSet<String> = HashSet::new();
        let mut found: HashMap<(String, String), Reach> = HashMap::new();
        let visited = connections.visit(|source, destination, reach| {
            if source.name != destination.name {
                touched.extend([source.name.clone(), destination.name.clone()]);
            }
            found.insert((source.name.clone(), destination.name.clone()), reach.clone());
            Ok(())
        });
        // Nothing is written while visiting, so nothing can fail.
        let unknown = visited.unwrap_or_default();
        let doubtful: HashSet<(&str, &str)> = unknown.iter().map(UnknownPair::names).collect();
        let shown = |entity: &&Entity| filter.wants_namespace(entity) || touched.contains(&entity.name);
        let rows: Vec<&Entity> =
            connections.listing.sources.iter().filter(shown).filter(|e| filter.wants_source(e)).collect();
        let columns: Vec<&Entity> =
            connections.listing.destinations.iter().filter(shown).filter(|e| filter.wants_destination(e)).collect();
        let everything = filter.ports().cloned().unwrap_or_else(netsim_shared::ports::PortSet::all);
        let cells = rows.iter().map(|row| {
            columns
                .iter()
                .map(|column| {
                    let own = connections.listing.is_single(row) && row.members == column.members;
                    let inside = row.namespace.is_some() || column.namespace.is_some();
                    let asked = inside && (filter.wants_namespace(row) || filter.wants_namespace(column));
                    // In a table there is no other column for what is open to every address.
                    if let (true, Some(pattern)) = (asked, &column.pattern) {
                        let (ports, unknown) = connections.listing.all_to_name(row, pattern);
                        let ports = ports.intersection(&everything);
                        return match (ports == everything, ports.is_empty()) {
                            (true, _) => Cell::Open,
                            _ if unknown => Cell::Unknown,
                            (false, true) => Cell::Closed,
                            (false, false) => Cell::Some(ports.to_string()),
                        };
                    }
                    match found.get(&(row.name.clone(), column.name.clone())) {
                        _ if !asked => Cell::NotAsked,
                        _ if own => Cell::Own,
                        _ if doubtful.contains(&(row.name.as_str(), column.name.as_str())) => Cell::Unknown,
                        None => Cell::Closed,
                        Some(reach) if reach.ports == everything => Cell::Open,
                        Some(reach) => Cell::Some(reach.to_string()),
                    }
                })
                .collect()
        });
        let cells = cells.collect();
        let name = |list: Vec<&Entity>| list.into_iter().map(|e| e.name.clone()).collect();
        (Table { cells, rows: name(rows), columns: name(columns) }, unknown)
    }

    /// For people. Columns are numbered, with the names below, so that a line stays short.
    pub fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = |text: &str| text.chars().count();
        let first = self.rows.iter().map(|r| width(r)).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let cells = self.cells.iter().filter_map(|row| row.get(i)).map(|c| width(c.text()));
                cells.chain([(i + 1).to_string().len()]).max().unwrap_or(1)
            })
            .collect();
        let mut header = " ".repeat(first);
        for (i, w) in widths.iter().enumerate() {
            header.push_str(&format!("  {:^w$}", i + 1));
        }
        writeln!(out, "{}", header.trim_end())?;
        for (name, cells) in self.rows.iter().zip(&self.cells) {
            let mut line = format!("{name:first$}");
            for (cell, w) in cells.iter().zip(&widths) {
                line.push_str(&format!("  {:^w$}", cell.text()));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        let blank = if self.cells.iter().flatten().any(|c| *c == Cell::NotAsked) { ", blank not asked" } else { "" };
        writeln!(out, "\nfrom the row to the column: ✓ allowed, . denied, = itself, ? unknown{blank}")?;
        for (i, name) in self.columns.iter().enumerate() {
            writeln!(out, "{:>4}  {name}", i + 1)?;
        }
        Ok(())
    }

    /// For spreadsheets.
    pub fn csv(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(std::iter::once("").chain(self.columns.iter().map(String::as_str))).map_err(csv_error)?;
        for (name, cells) in self.rows.iter().zip(&self.cells) {
            writer
                .write_record(std::iter::once(name.as_str()).chain(cells.iter().map(Cell::text)))
                .map_err(csv_error)?;
        }
        writer.flush()
    }

    /// A Markdown table.
    pub fn markdown(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "| from \\ to |")?;
        for column in &self.columns {
            write!(out, " {} |", cell(column))?;
        }
        write!(out, "\n| --- |")?;
        for _ in &self.columns {
            write!(out, " --- |")?;
        }
        writeln!(out)?;
        for (name, cells) in self.rows.iter().zip(&self.cells) {
            write!(out, "| {} |", cell(name))?;
            for one in cells {
                write!(out, " {} |", cell(one.text()))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    /// For programs: `docs/schemas/matrix.schema.json`.
    pub fn json(&self, out: &mut dyn Write, connections: &Connections<'_>) -> io::Result<()> {
        let value = TableJson {
            schema_version: SCHEMA_VERSION,
            port: connections.filter.ports().map(ToString::to_string),
            sources: &self.rows,
            destinations: &self.columns,
            verdicts: self.cells.iter().map(|row| row.iter().map(Cell::word).collect()).collect(),
            incomplete: connections.index.foreign_policies().map(|p| ForeignJson::from(p.as_ref())).collect(),
        };
        serde_json::to_writer(&mut *out, &value)?;
        writeln!(out)
    }
}
