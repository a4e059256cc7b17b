//! Lists of connections: text for people, and the forms that other programs read.

use super::answer_json::{ForeignJson, SCHEMA_VERSION};
use super::summary::{Member, Whole};
use super::{diagnostics, style};
use crate::commands::filter::Filter;
use crate::exit::Exit;
use netsim_shared::cluster::ClusterIndex;
use netsim_shared::list::{Entity, Listing, Pair, Reach};
use netsim_shared::net::Family;
use netsim_shared::ports::PortRange;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Write};

/// What is listed.
pub struct Connections<'c> {
    /// The objects.
    pub index: &'c ClusterIndex,
    /// All connections.
    pub listing: &'c Listing<'c>,
    /// What of them is wanted.
    pub filter: &'c Filter,
    /// Whether it is pod by pod.
    pub expand: bool,
}

/// A pair that cannot be told.
pub struct UnknownPair {
    source: String,
    destination: String,
}

impl UnknownPair {
    /// A pair by its names.
    pub fn new(source: &str, destination: &str) -> Self {
        UnknownPair { source: source.to_owned(), destination: destination.to_owned() }
    }

    /// Source and destination.
    pub fn names(&self) -> (&str, &str) {
        (&self.source, &self.destination)
    }
}

impl<'c> Connections<'c> {
    /// Visits the wanted pairs; gives back those that cannot be told.
    pub fn visit(
        &self,
        mut open: impl FnMut(&'c Entity, &'c Entity, &Reach) -> io::Result<()>,
    ) -> io::Result<Vec<UnknownPair>> {
        let (mut unknown, mut failed) = (Vec::new(), None);
        self.listing.for_each(
            |d| self.filter.wants_destination(d),
            |source, destination, pair| {
                if failed.is_some() || !self.filter.wants(source, destination) {
                    return;
                }
                let (Pair::Open(reach) | Pair::Unknown(reach)) = pair;
                if matches!(pair, Pair::Unknown(_)) {
                    unknown.push(UnknownPair { source: source.name.clone(), destination: destination.name.clone() });
                }
                // Without a port filter, and that is most of the time, nothing has to be copied.
                let kept = self.filter.ports().map(|_| self.filter.reach(reach));
                let reach = kept.as_ref().unwrap_or(reach);
                if !reach.is_empty()
                    && let Err(error) = open(source, destination, reach)
                {
                    failed = Some(error);
                }
            },
        );
        failed.map_or(Ok(unknown), Err)
    }

    /// What has to be said with a list, on standard error, and the exit code.
    pub fn finish(&self, unknown: Vec<UnknownPair>) -> Exit {
        if self.listing.has_hosts() && !self.expand {
            diagnostics::say(
                "note: a pod and its own node always reach each other; --expand shows these pairs of hostNetwork pods",
            );
        }
        if self.listing.rests_on_assumptions() {
            diagnostics::say(
                "note: pods without an address are assumed to lie in no partial ipBlock; --pod-cidr decides it, --strict refuses to assume",
            );
        }
        if !unknown.is_empty() {
            let pairs = if unknown.len() == 1 { "pair" } else { "pairs" };
            diagnostics::say(&format!("unknown: {} {pairs} cannot be told from the input, such as", unknown.len()));
            for pair in unknown.iter().take(5) {
                diagnostics::say(&format!("  {} → {}", pair.source, pair.destination));
            }
        }
        let incomplete = diagnostics::incomplete(self.index);
        if unknown.is_empty() && !incomplete { Exit::Ok } else { Exit::Unknown }
    }
}

/// For people: each destination with its open ports and who has them open. Sources that make up a
/// whole namespace, or everything, are said so.
pub fn text(out: &mut dyn Write, connections: &Connections<'_>) -> io::Result<Vec<UnknownPair>> {
    let namespaces = connections.listing.sources.iter().map(|entity| entity.namespace.as_deref());
    let whole = Whole::new(namespaces, if connections.expand { 8 } else { 5 });
    let mut current: Option<Destination<'_>> = None;
    let mut any = false;
    let unknown = connections.visit(|source, destination, reach| {
        // That a pod reaches itself goes without saying.
        if connections.listing.is_single(source) && source.members == destination.members {
            return Ok(());
        }
        if !current.as_ref().is_some_and(|c| std::ptr::eq(c.entity, destination)) {
            if let Some(done) = current.replace(Destination { entity: destination, by_ports: Vec::new() }) {
                done.write(out, &whole)?;
            }
            any = true;
        }
        if let Some(current) = &mut current {
            match current.by_ports.iter_mut().find(|(known, _)| known == reach) {
                Some((_, sources)) => sources.push(source),
                None => current.by_ports.push((reach.clone(), vec![source])),
            }
        }
        Ok(())
    })?;
    if let Some(last) = current {
        last.write(out, &whole)?;
    }
    if !any {
        writeln!(out, "no connection is allowed")?;
    }
    Ok(unknown)
}

fn member(entity: &Entity) -> Member<'_> {
    (entity.namespace.as_deref(), &entity.name)
}

/// A destination and who reaches it on which ports.
struct Destination<'e> {
    entity: &'e Entity,
    by_ports: Vec<(Reach, Vec<&'e Entity>)>,
}

impl Destination<'_> {
    fn write(&self, out: &mut dyn Write, whole: &Whole<'_>) -> io::Result<()> {
        let (bold, quiet) = (style::BOLD, style::QUIET);
        writeln!(out, "{bold}{}{bold:#}", self.entity.name)?;
        let mut rows: Vec<(String, String)> = self
            .by_ports
            .iter()
            .map(|(reach, sources)| {
                (reach.to_string(), whole.summary(sources.iter().map(|e| member(e)), Some(member(self.entity))))
            })
            .collect();
        rows.sort();
        for (ports, sources) in rows {
            writeln!(out, "  {ports}  {quiet}from{quiet:#} {sources}")?;
        }
        Ok(())
    }
}

/// What a source or destination is called where there is one name for each: blocks stand apart.
fn names(entity: &Entity) -> Vec<&str> {
    if entity.blocks.is_empty() { vec![&entity.name] } else { entity.blocks.iter().map(String::as_str).collect() }
}

/// For programs: `docs/schemas/list.schema.json`. Written as it is found: it may be long.
pub fn json(out: &mut dyn Write, connections: &Connections<'_>) -> io::Result<Vec<UnknownPair>> {
    write!(out, "{{\"schemaVersion\":\"{SCHEMA_VERSION}\",\"connections\":[")?;
    let mut first = true;
    // Few names and port lists make up many connections: each is written as JSON once.
    let mut ports: HashMap<Reach, String> = HashMap::new();
    let mut quoted: HashMap<String, String> = HashMap::new();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let unknown = connections.visit(|source, destination, reach| {
        named.extend(destination.pattern.as_ref().map(|_| destination.name.as_str()));
        if !ports.contains_key(reach) {
            ports.insert(reach.clone(), ports_json(reach)?);
        }
        let ports = ports.get(reach).map_or("[]", String::as_str);
        for name in names(source).into_iter().chain(names(destination)) {
            if !quoted.contains_key(name) {
                quoted.insert(name.to_owned(), serde_json::to_string(name)?);
            }
        }
        let quote = |name: &str| quoted.get(name).map_or("\"\"", String::as_str);
        for src in names(source) {
            for dst in names(destination) {
                let comma = if std::mem::take(&mut first) { "\n" } else { ",\n" };
                for part in [comma, "{\"src\":", quote(src), ",\"dst\":", quote(dst), ",\"ports\":", ports, "}"] {
                    out.write_all(part.as_bytes())?;
                }
            }
        }
        Ok(())
    })?;
    write!(out, "\n],\"groups\":[")?;
    let sources = connections.listing.sources.iter().map(|e| ("src", e));
    let destinations = connections.listing.destinations.iter().map(|e| ("dst", e));
    let grouped = sources.chain(destinations).filter(|(_, e)| !connections.expand && e.members.len() > 1);
    for (i, (role, entity)) in grouped.enumerate() {
        let members = entity.members.iter().filter_map(|id| connections.listing.name_of(*id));
        let group = serde_json::json!({"name": entity.name, "role": role, "members": members.collect::<Vec<_>>()});
        write!(out, "{}{group}", if i > 0 { ",\n" } else { "\n" })?;
    }
    let pairs: Vec<_> = unknown.iter().map(|p| serde_json::json!({"src": p.source, "dst": p.destination})).collect();
    let foreign: Vec<ForeignJson> =
        connections.index.foreign_policies().map(|p| ForeignJson::from(p.as_ref())).collect();
    writeln!(
        out,
        "\n],\"names\":{},\"unknown\":{},\"incomplete\":{}}}",
        serde_json::to_string(&named)?,
        serde_json::to_string(&pairs)?,
        serde_json::to_string(&foreign)?
    )?;
    Ok(unknown)
}

#[derive(serde::Serialize)]
struct RangeJson {
    #[serde(flatten)]
    range: PortRange,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<&'static str>,
}

fn ports_json(reach: &Reach) -> serde_json::Result<String> {
    let ranges = reach.ranges().map(|(range, family)| RangeJson { range, family: family.map(Family::as_str) });
    serde_json::to_string(&ranges.collect::<Vec<_>>())
}

/// The error underneath: a reader that has gone must be told from others.
pub fn csv_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// A row for each range of ports.
pub fn csv(out: &mut dyn Write, connections: &Connections<'_>) -> io::Result<Vec<UnknownPair>> {
    let mut writer = csv::Writer::from_writer(out);
    writer.write_record(["src", "dst", "protocol", "from", "to", "family"]).map_err(csv_error)?;
    let unknown = connections.visit(|source, destination, reach| {
        for src in names(source) {
            for dst in names(destination) {
                for (range, family) in reach.ranges() {
                    let (from, to) = (range.from.to_string(), range.to.to_string());
                    let family = family.map_or("", |f| f.as_str());
                    let row = [src, dst, range.protocol.as_str(), &from, &to, family];
                    writer.write_record(row).map_err(csv_error)?;
                }
            }
        }
        Ok(())
    })?;
    writer.flush()?;
    Ok(unknown)
}

/// A Markdown table.
pub fn markdown(out: &mut dyn Write, connections: &Connections<'_>) -> io::Result<Vec<UnknownPair>> {
    writeln!(out, "| source | destination | ports |\n| --- | --- | --- |")?;
    connections.visit(|source, destination, reach| {
        writeln!(out, "| {} | {} | {reach} |", cell(&source.name), cell(&destination.name))
    })
}

/// Text that keeps its place in a Markdown table.
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('*', "\\*")
}

/// A Graphviz graph, namespaces as clusters.
pub fn dot(out: &mut dyn Write, connections: &Connections<'_>) -> io::Result<Vec<UnknownPair>> {
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    writeln!(out, "digraph connections {{\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];")?;
    let mut by_namespace: BTreeMap<Option<&str>, BTreeSet<&str>> = BTreeMap::new();
    for entity in connections.listing.sources.iter().chain(&connections.listing.destinations) {
        by_namespace.entry(entity.namespace.as_deref()).or_default().insert(&entity.name);
    }
    for (i, (namespace, entities)) in by_namespace.iter().enumerate() {
        if let Some(namespace) = namespace {
            writeln!(out, "  subgraph cluster_{i} {{\n    label={};", quote(namespace))?;
        }
        for name in entities {
            let shape = if namespace.is_none() { " [shape=ellipse]" } else { "" };
            writeln!(out, "    {}{shape};", quote(name))?;
        }
        if namespace.is_some() {
            writeln!(out, "  }}")?;
        }
    }
    let unknown = connections.visit(|source, destination, reach| {
        if source.name == destination.name {
            return Ok(());
        }
        writeln!(
            out,
            "  {} -> {} [label={}];",
            quote(&source.name),
            quote(&destination.name),
            quote(&reach.to_string())
        )
    })?;
    writeln!(out, "}}")?;
    Ok(unknown)
}
