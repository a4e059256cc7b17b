//! The graph as a picture for documents: namespaces as boxes in columns, workloads in them. Where there are
//! too many to be read, namespaces alone.

use super::html::escaped;
use netsim_shared::ports::{PortRange, PortSet, Protocol};
use netsim_shared::survey::{Ports, Reach, Survey};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// With more workloads or more arrows than this, only namespaces are drawn.
const MOST_ENTITIES: usize = 60;
const MOST_EDGES: usize = 160;

const WIDTH: usize = 280;
const HEAD: usize = 26;
const PILL: usize = 26;
const PAD: usize = 8;
const GAP_X: usize = 110;
const GAP_Y: usize = 24;
const MARGIN: usize = 16;

/// What arrows go between: a namespace (their count stands for the outside), or an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Namespace(usize),
    Entity(usize),
}

/// How much is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Open {
    All,
    Ports,
    SomePairs,
    Unknown,
}

impl Open {
    fn class(self) -> &'static str {
        match self {
            Open::All => "all",
            Open::Ports => "ports",
            Open::SomePairs => "pairs",
            Open::Unknown => "unknown",
        }
    }
}

#[derive(Debug)]
struct Edge {
    from: End,
    to: End,
    open: Open,
    ports: PortSet,
    /// The part of its pairs that is open, in thousandths.
    share: usize,
    text: String,
}

/// A namespace and where it stands.
#[derive(Debug)]
struct Frame {
    namespace: usize,
    entities: Vec<usize>,
    column: usize,
    x: usize,
    y: usize,
    height: usize,
}

/// What is drawn.
#[derive(Debug)]
pub struct Picture<'s> {
    survey: &'s Survey,
    /// The namespaces in the order in which they are drawn.
    order: Vec<usize>,
    edges: Vec<Edge>,
    /// Whether workloads are drawn.
    in_full: bool,
}

/// What all pairs of two namespaces come to.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    pairs: usize,
    all: usize,
    ports: usize,
    unknown: usize,
}

fn open_of(reach: &Reach) -> Option<Open> {
    let ports = set(&reach.open);
    match () {
        () if reach.unknown.is_some() => Some(Open::Unknown),
        () if ports.is_all() => Some(Open::All),
        () if ports.is_empty() && reach.only_v4.is_empty() && reach.only_v6.is_empty() => None,
        () => Some(Open::Ports),
    }
}

fn set(ports: &[Ports]) -> PortSet {
    let range = |(number, from, to): &Ports| {
        let protocol = Protocol::ALL.get(usize::from(*number))?;
        Some(PortRange { protocol: *protocol, from: *from, to: *to })
    };
    ports.iter().filter_map(range).collect()
}

fn reach_text(reach: &Reach) -> String {
    let mut parts = Vec::new();
    if !reach.open.is_empty() {
        parts.push(set(&reach.open).to_string());
    }
    for (ports, family) in [(&reach.only_v4, "IPv4"), (&reach.only_v6, "IPv6")] {
        if !ports.is_empty() {
            parts.push(format!("{family} only: {}", set(ports)));
        }
    }
    if reach.unknown.is_some() {
        parts.push("unknown".to_owned());
    }
    parts.join(", ")
}

impl<'s> Picture<'s> {
    /// What there is to draw.
    pub fn new(survey: &'s Survey) -> Self {
        let sums = sums(survey);
        let order = order(survey, &sums);
        let edges = if survey.entities.len() <= MOST_ENTITIES { entity_edges(survey, true) } else { Vec::new() };
        let in_full = survey.entities.len() <= MOST_ENTITIES && edges.len() <= MOST_EDGES;
        let edges = if in_full { edges } else { namespace_edges(&sums) };
        Picture { survey, order, edges, in_full }
    }

    /// The namespaces in the order in which they are drawn; their count stands for the outside.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    fn namespace_name(&self, number: usize) -> &str {
        self.survey.namespaces.get(number).map_or("outside", |namespace| &namespace.name)
    }

    fn name(&self, end: End) -> &str {
        match end {
            End::Namespace(number) => self.namespace_name(number),
            End::Entity(number) => self.survey.entities.get(number).map_or("", |entity| &entity.name),
        }
    }

    fn members(&self, namespace: usize) -> Vec<usize> {
        let numbered = self.survey.entities.iter().enumerate();
        numbered.filter(|(_, e)| home(self.survey, e) == namespace).map(|(number, _)| number).collect()
    }

    /// Namespaces in columns, so many that the picture is about as wide as a page lies.
    fn frames(&self) -> Vec<Frame> {
        let mut frames: Vec<Frame> = Vec::new();
        for namespace in self.order.iter().copied() {
            let members = self.members(namespace);
            if members.is_empty() {
                continue;
            }
            let height = if self.in_full { HEAD + members.len() * PILL + PAD } else { HEAD + PAD * 2 };
            let entities = if self.in_full { members } else { Vec::new() };
            frames.push(Frame { namespace, entities, column: 0, x: 0, y: 0, height });
        }
        let total: usize = frames.iter().map(|frame| frame.height + GAP_Y).sum();
        let tallest = frames.iter().map(|frame| frame.height + GAP_Y).max().unwrap_or_default();
        let column_height = |columns: usize| (total / columns).max(tallest);
        // As near as can be to seven wide and two high: more columns have fewer arrows within them.
        let odds = |columns: &usize| (columns * (WIDTH + GAP_X) * 2).abs_diff(column_height(*columns) * 7);
        let columns = (1..=frames.len().clamp(1, 12)).min_by_key(odds).unwrap_or(1);
        let (mut column, mut y) = (0, 0);
        for frame in &mut frames {
            if y > 0 && y + frame.height / 2 > column_height(columns) {
                (column, y) = (column + 1, 0);
            }
            (frame.column, frame.x, frame.y) = (column, MARGIN + column * (WIDTH + GAP_X), MARGIN + y);
            y += frame.height + GAP_Y;
        }
        frames
    }

    /// The picture.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn svg(&self, out: &mut dyn Write) -> io::Result<()> {
        let frames = self.frames();
        let right = frames.iter().map(|frame| frame.x + WIDTH).max().unwrap_or(WIDTH) + GAP_X / 2;
        let bottom = frames.iter().map(|frame| frame.y + frame.height).max().unwrap_or(HEAD) + 2 * MARGIN;
        writeln!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{right}\" height=\"{bottom}\" \
             viewBox=\"0 0 {right} {bottom}\" role=\"img\" aria-label=\"Who reaches whom\">"
        )?;
        writeln!(out, "<style>{}</style>", include_str!("picture.css").trim_end())?;
        writeln!(out, "<defs>")?;
        for open in [Open::All, Open::Ports, Open::SomePairs, Open::Unknown].map(Open::class) {
            writeln!(
                out,
                "<marker id=\"{open}\" class=\"tip {open}\" viewBox=\"0 0 8 8\" refX=\"6\" refY=\"4\" markerWidth=\"7\" \
                 markerHeight=\"7\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker>"
            )?;
        }
        writeln!(out, "</defs>\n<rect class=\"paper\" width=\"{right}\" height=\"{bottom}\"/>")?;
        let places = self.places(&frames);
        let drawn = self.drawn();
        for edge in &drawn {
            let (Some(from), Some(to)) = (places.get(&edge.from), places.get(&edge.to)) else { continue };
            let class = edge.open.class();
            let path = curve(*from, *to);
            let title = format!("{} → {}: {}", self.name(edge.from), self.name(edge.to), edge.text);
            writeln!(
                out,
                "<path class=\"edge {class}\" d=\"{path}\" marker-end=\"url(#{class})\"><title>{}</title></path>",
                escaped(&title)
            )?;
        }
        for frame in &frames {
            self.write_frame(out, frame)?;
        }
        if drawn.len() < self.edges.len() {
            let said = format!(
                "The {} of {} connections of namespaces with the largest part of their pairs open.",
                drawn.len(),
                self.edges.len()
            );
            writeln!(out, "<text x=\"{MARGIN}\" y=\"{}\">{said}</text>", bottom - MARGIN / 2)?;
        }
        writeln!(out, "</svg>")
    }

    /// The arrows that are drawn: all, or those that matter most where all would be a tangle.
    fn drawn(&self) -> Vec<&Edge> {
        let mut drawn: Vec<&Edge> = self.edges.iter().collect();
        if drawn.len() > MOST_EDGES {
            drawn.sort_by_key(|edge| std::cmp::Reverse(edge.share));
            drawn.truncate(MOST_EDGES);
        }
        drawn
    }

    fn write_frame(&self, out: &mut dyn Write, frame: &Frame) -> io::Result<()> {
        let Frame { namespace, entities, x, y, height, .. } = frame;
        let outside = if *namespace == self.survey.namespaces.len() { " outside" } else { "" };
        let name = self.namespace_name(*namespace);
        writeln!(out, "<g class=\"namespace{outside}\"><title>{}</title>", escaped(name))?;
        writeln!(out, "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{height}\" rx=\"6\"/>")?;
        let (text_x, text_y) = (x + 10, y + if self.in_full { 18 } else { 26 });
        writeln!(out, "<text class=\"name\" x=\"{text_x}\" y=\"{text_y}\">{}</text>", escaped(&shortened(name, 24)))?;
        if !self.in_full {
            let (count, count_x) = (self.members(*namespace).len(), x + WIDTH - 10);
            writeln!(out, "<text class=\"count\" x=\"{count_x}\" y=\"{text_y}\">{count}</text>")?;
        }
        for (at, number) in entities.iter().enumerate() {
            let Some(entity) = self.survey.entities.get(*number) else { continue };
            let short = entity.name.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')).unwrap_or(&entity.name);
            let (left, top) = (x + PAD, y + HEAD + at * PILL + 2);
            let (width, pill, text_x, text_y) = (WIDTH - 2 * PAD, PILL - 5, left + 8, top + 15);
            let ports = self.ports_open_at(*number);
            let name = shortened(short, 34 - ports.chars().count());
            writeln!(
                out,
                "<g class=\"workload\"><title>{}</title><rect x=\"{left}\" y=\"{top}\" width=\"{width}\" \
                 height=\"{pill}\" rx=\"4\"/><text x=\"{text_x}\" y=\"{text_y}\">{}</text>",
                escaped(&entity.name),
                escaped(&name)
            )?;
            let ports_x = left + width - 8;
            writeln!(out, "<text class=\"count\" x=\"{ports_x}\" y=\"{text_y}\">{}</text></g>", escaped(&ports))?;
        }
        writeln!(out, "</g>")
    }

    /// The ports on which somebody reaches an entity; short, as it stands beside the name.
    fn ports_open_at(&self, number: usize) -> String {
        let to_it = self.edges.iter().filter(|edge| edge.to == End::Entity(number));
        let open = to_it.fold(PortSet::EMPTY, |all, edge| all.union(&edge.ports));
        if open.is_empty() { String::new() } else { shortened(&open.to_string(), 18) }
    }

    /// Where ends stand: column, left, right, and the height of the middle.
    fn places(&self, frames: &[Frame]) -> BTreeMap<End, Place> {
        let mut places = BTreeMap::new();
        for frame in frames {
            let (column, middle) = (frame.column, frame.y + HEAD / 2 + if self.in_full { 0 } else { PAD });
            let place = Place { column, left: frame.x, right: frame.x + WIDTH, middle };
            places.insert(End::Namespace(frame.namespace), place);
            for (at, number) in frame.entities.iter().enumerate() {
                let middle = frame.y + HEAD + at * PILL + PILL / 2;
                // Arrows end at the border of the box, where they can be seen.
                let place = Place { column, left: frame.x, right: frame.x + WIDTH, middle };
                places.insert(End::Entity(*number), place);
            }
        }
        places
    }

    /// The same for Graphviz.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn dot(&self, out: &mut dyn Write) -> io::Result<()> {
        let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        writeln!(out, "digraph report {{\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];")?;
        for namespace in self.order.iter().copied() {
            let (name, members) = (self.namespace_name(namespace), self.members(namespace));
            let outside = namespace == self.survey.namespaces.len();
            if members.is_empty() {
                continue;
            }
            if !self.in_full {
                let label = if outside { name.to_owned() } else { format!("{name}\n{} workloads", members.len()) };
                writeln!(out, "  {} [label={}];", quote(name), quote(&label).replace('\n', "\\n"))?;
                continue;
            }
            writeln!(out, "  subgraph cluster_{namespace} {{\n    label={};", quote(name))?;
            for number in members {
                let shape = if outside { " [shape=ellipse]" } else { "" };
                writeln!(out, "    {}{shape};", quote(self.name(End::Entity(number))))?;
            }
            writeln!(out, "  }}")?;
        }
        // Programs read this, too: every pair has its own arrow.
        let pairs = if self.in_full { entity_edges(self.survey, false) } else { Vec::new() };
        for edge in if self.in_full { &pairs } else { &self.edges } {
            let (from, to) = (quote(self.name(edge.from)), quote(self.name(edge.to)));
            let style = if edge.open == Open::Unknown { ", style=dashed" } else { "" };
            writeln!(out, "  {from} -> {to} [label={}{style}];", quote(&edge.text))?;
        }
        writeln!(out, "}}")
    }
}

/// Where an end stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    column: usize,
    left: usize,
    right: usize,
    middle: usize,
}

/// The way of an arrow.
fn curve(from: Place, to: Place) -> String {
    let (y, end_y) = (from.middle, to.middle);
    if from.column == to.column {
        let out = from.right.max(to.right) + 30 + (y.abs_diff(end_y) / 5).min(40);
        return format!("M{} {y}C{out} {y} {out} {end_y} {} {end_y}", from.right, to.right + 2);
    }
    let right = to.column > from.column;
    let (x, end) = if right { (from.right, to.left - 2) } else { (from.left, to.right + 2) };
    let bend = (x.abs_diff(end) / 2).max(40);
    let (out, into) = if right { (x + bend, end.saturating_sub(bend)) } else { (x.saturating_sub(bend), end + bend) };
    format!("M{x} {y}C{out} {y} {into} {end_y} {end} {end_y}")
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// The namespace of an entity; the outside is behind the last.
fn home(survey: &Survey, entity: &netsim_shared::survey::Entity) -> usize {
    entity.namespace.map_or(survey.namespaces.len(), |number| number as usize)
}

/// The pairs that are asked about: source, destination, and the number of what they come to.
fn for_each_pair(survey: &Survey, mut visit: impl FnMut(usize, usize, u32)) {
    let rows = survey.entities.iter().filter_map(|e| e.row).max().map_or(0, |last| last as usize + 1);
    let mut cells: Vec<u32> = Vec::with_capacity(rows);
    let in_only = |number: Option<u32>| number.is_some_and(|number| survey.only.contains(&number));
    for (d, to) in survey.entities.iter().enumerate() {
        let Some(column) = to.column.and_then(|column| survey.columns.get(column as usize)) else { continue };
        cells.clear();
        cells.extend(column.iter().flat_map(|(count, reach)| std::iter::repeat_n(*reach, *count as usize)));
        let wanted = survey.only.is_empty() || in_only(to.namespace);
        for (s, from) in survey.entities.iter().enumerate() {
            let Some(row) = from.row else { continue };
            let outside = from.namespace.is_none() && to.namespace.is_none();
            if !outside && (wanted || in_only(from.namespace)) && !(s == d && from.single) {
                visit(s, d, cells.get(row as usize).copied().unwrap_or_default());
            }
        }
    }
}

fn sums(survey: &Survey) -> BTreeMap<(usize, usize), Sum> {
    let kinds: Vec<Option<Open>> = survey.reaches.iter().map(open_of).collect();
    let homes: Vec<usize> = survey.entities.iter().map(|entity| home(survey, entity)).collect();
    let count = survey.namespaces.len() + 1;
    let mut flat = vec![Sum::default(); count * count];
    for_each_pair(survey, |source, destination, reach| {
        let (Some(from), Some(to)) = (homes.get(source), homes.get(destination)) else { return };
        let Some(sum) = flat.get_mut(from * count + to) else { return };
        sum.pairs += 1;
        match kinds.get(reach as usize).copied().flatten() {
            Some(Open::All) => sum.all += 1,
            Some(Open::Ports | Open::SomePairs) => sum.ports += 1,
            Some(Open::Unknown) => sum.unknown += 1,
            None => {}
        }
    });
    let numbered = flat.into_iter().enumerate().filter(|(_, sum)| sum.pairs > 0);
    numbered.map(|(at, sum)| ((at / count, at % count), sum)).collect()
}

/// Namespaces so that arrows go from left to right as far as they can: who has more going out than coming
/// in stands before. Pairs that are open on every port say nothing of a direction, and do not count.
fn order(survey: &Survey, sums: &BTreeMap<(usize, usize), Sum>) -> Vec<usize> {
    let count = survey.namespaces.len();
    let mut out: Vec<i64> = vec![0; count];
    let mut into: Vec<i64> = vec![0; count];
    let weight = |sum: &Sum| i64::try_from(sum.ports).unwrap_or(i64::MAX / 4);
    let counted = || sums.iter().filter(|((a, b), sum)| a != b && *a < count && *b < count && sum.ports > 0);
    let mut neighbours: Vec<Vec<(usize, i64, bool)>> = vec![Vec::new(); count];
    for ((from, to), sum) in counted() {
        if let Some(place) = out.get_mut(*from) {
            *place += weight(sum);
        }
        if let Some(place) = into.get_mut(*to) {
            *place += weight(sum);
        }
        for (at, other, outgoing) in [(*from, *to, true), (*to, *from, false)] {
            if let Some(list) = neighbours.get_mut(at) {
                list.push((other, weight(sum), outgoing));
            }
        }
    }
    let value = |list: &[i64], at: usize| list.get(at).copied().unwrap_or_default();
    let mut left: Vec<usize> = (0..count).collect();
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    while !left.is_empty() {
        let sink = left.iter().position(|n| value(&out, *n) == 0 && value(&into, *n) > 0);
        let most = || {
            let best = left.iter().enumerate();
            best.max_by_key(|(at, n)| (value(&out, **n) - value(&into, **n), std::cmp::Reverse(*at))).map(|(at, _)| at)
        };
        let Some(at) = sink.or_else(most) else { break };
        let chosen = left.remove(at);
        for (other, weight, outgoing) in neighbours.get(chosen).into_iter().flatten() {
            let list = if *outgoing { &mut into } else { &mut out };
            if let Some(place) = list.get_mut(*other) {
                *place -= weight;
            }
        }
        if sink.is_some() { tail.push(chosen) } else { head.push(chosen) }
    }
    head.into_iter().chain(tail.into_iter().rev()).chain([count]).collect()
}

/// An arrow for each pair; with `joined` one from the whole namespace where all of it comes out alike.
fn entity_edges(survey: &Survey, joined: bool) -> Vec<Edge> {
    let mut totals: BTreeMap<usize, usize> = BTreeMap::new();
    for entity in survey.entities.iter().filter(|entity| entity.row.is_some()) {
        *totals.entry(home(survey, entity)).or_default() += 1;
    }
    let mut by_destination: BTreeMap<(usize, usize), Vec<(usize, u32)>> = BTreeMap::new();
    for_each_pair(survey, |source, destination, reach| {
        if source != destination
            && survey.reaches.get(reach as usize).and_then(open_of).is_some()
            && let Some(from) = survey.entities.get(source)
        {
            by_destination.entry((destination, home(survey, from))).or_default().push((source, reach));
        }
    });
    let mut edges = Vec::new();
    for ((destination, namespace), sources) in by_destination {
        let alike = sources.windows(2).all(|two| matches!(two, [(_, a), (_, b)] if a == b));
        let of_destination = survey.entities.get(destination).map(|entity| home(survey, entity));
        let whole = joined
            && alike
            && sources.len() > 1
            && of_destination != Some(namespace)
            && totals.get(&namespace) == Some(&sources.len());
        let kept = if whole { sources.get(..1).unwrap_or_default() } else { &sources };
        for (source, reach) in kept {
            let Some(reach) = survey.reaches.get(*reach as usize) else { continue };
            let Some(open) = open_of(reach) else { continue };
            let from = if whole { End::Namespace(namespace) } else { End::Entity(*source) };
            let (to, ports, text) = (End::Entity(destination), set(&reach.open), reach_text(reach));
            edges.push(Edge { from, to, open, ports, share: 1000, text });
        }
    }
    edges
}

/// An arrow for each pair of namespaces.
fn namespace_edges(sums: &BTreeMap<(usize, usize), Sum>) -> Vec<Edge> {
    let between = sums.iter().filter(|((from, to), _)| from != to);
    let edges = between.filter_map(|((from, to), sum)| {
        let opened = sum.all + sum.ports;
        let open = match () {
            () if sum.unknown > 0 => Open::Unknown,
            () if opened == 0 => return None,
            () if sum.all == sum.pairs => Open::All,
            () if opened == sum.pairs => Open::Ports,
            () => Open::SomePairs,
        };
        let mut text = format!("{opened} of {} pairs", sum.pairs);
        if sum.unknown > 0 {
            text.push_str(&format!(", {} unknown", sum.unknown));
        }
        let (from, to) = (End::Namespace(*from), End::Namespace(*to));
        let share = 1000 * (opened + sum.unknown) / sum.pairs;
        Some(Edge { from, to, open, ports: PortSet::EMPTY, share, text })
    });
    edges.collect()
}
