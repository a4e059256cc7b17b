//! A difference as a comment on a pull request.

use super::{Entry, Line, Names, Places, count, entries, headline, lines, lone, notes, policies, ports, shown, word};
use netsim_shared::difference::Difference;
use std::io::{self, Write};

/// How many characters a comment on GitHub may have.
const LIMIT: usize = 65_536;
/// What is kept free for what stands below the tables.
const RESERVE: usize = 4_000;
/// How many changes have a row of their own.
const CHANGES: usize = 100;
/// How many rows stand open; longer tables are folded.
const OPEN_ROWS: usize = 12;

/// Writes it, never longer than a comment may be.
pub fn write(out: &mut dyn Write, difference: &Difference) -> io::Result<()> {
    out.write_all(comment(difference, LIMIT).as_bytes())
}

/// A table: what is above it, and its rows.
struct Table {
    title: String,
    head: &'static str,
    rows: Vec<String>,
}

fn comment(difference: &Difference, limit: usize) -> String {
    let mut page = format!("### netsim: {}\n", headline(difference));
    if let Some(policies) = policies(difference) {
        page.push_str(&format!("\n{}\n", escape(&policies)));
    }
    let mut tables = changes(difference);
    tables.extend(lone_tables(difference));
    let folded = tables.iter().map(|table| table.rows.len()).sum::<usize>() > OPEN_ROWS;
    let mut room = limit.saturating_sub(RESERVE + page.chars().count());
    let mut left_out = 0;
    for table in &tables {
        let (open, close) = if folded {
            (format!("\n<details><summary>{}</summary>\n\n{}", table.title, table.head), "\n</details>\n")
        } else {
            (format!("\n**{}**\n\n{}", table.title, table.head), "")
        };
        let frame = open.chars().count() + close.chars().count();
        let mut rows = String::new();
        for row in &table.rows {
            let needed = row.chars().count() + if rows.is_empty() { frame } else { 0 };
            if needed > room {
                left_out += 1;
                continue;
            }
            room -= needed;
            rows.push_str(row);
        }
        if !rows.is_empty() {
            page.push_str(&open);
            page.push_str(&rows);
            page.push_str(close);
        }
    }
    if left_out > 0 {
        page.push_str(&format!(
            "\n{} left out, as a comment may have {LIMIT} characters; `netsim diff -o text` shows everything.\n",
            if left_out == 1 { "1 row is".to_owned() } else { format!("{left_out} rows are") }
        ));
    }
    for note in notes(difference) {
        page.push_str(&format!("\n> {}\n", escape(&note)));
    }
    if page.chars().count() > limit { page.chars().take(limit).collect() } else { page }
}

fn changes(difference: &Difference) -> Vec<Table> {
    let names = Names::new(difference);
    let mut places = Places::default();
    let mut tables: Vec<Table> = Vec::new();
    let entries = entries(difference, CHANGES);
    for alike in entries.chunk_by(|a, b| (a.change.kind, a.change.incomplete) == (b.change.kind, b.change.incomplete)) {
        let Some(first) = alike.first() else { continue };
        let connections = alike.iter().map(|entry| entry.connections).sum::<usize>();
        let row = |entry: &Entry<'_>| {
            let why: Vec<String> = lines(difference, &names, &entry.change, &mut places).iter().map(escaped).collect();
            format!(
                "| {} | {} | {} | {} |\n",
                escape(&names.sources(&entry.change)),
                escape(&names.destinations(&entry.change)),
                escape(&ports(&entry.change)),
                why.join("<br>")
            )
        };
        let rows = alike.iter().map(row).collect();
        let incomplete = if first.change.incomplete { ", incomplete" } else { "" };
        let title = format!("{}{incomplete}: {}", word(first.change.kind), count(connections, "connection"));
        tables.push(Table { title, head: "| from | to | ports | why |\n| --- | --- | --- | --- |\n", rows });
    }
    tables
}

fn escaped(line: &Line) -> String {
    let place = line.place.as_ref().map_or(String::new(), |place| format!(" {}", code(&shown(place))));
    format!("{}: {}{place}", escape(&line.about), escape(&line.text))
}

fn lone_tables(difference: &Difference) -> Vec<Table> {
    let mut tables = Vec::new();
    for (side, what) in [(&difference.lone.new, "added"), (&difference.lone.old, "removed")] {
        let workloads = lone(side);
        if workloads.is_empty() {
            continue;
        }
        let mut rows = Vec::new();
        for workload in workloads {
            if workload.rows.is_empty() {
                rows.push(format!("| {} | no connection | |\n", escape(&workload.name)));
            }
            for (way, who, ports) in workload.rows {
                rows.push(format!("| {} | {way} {} | {} |\n", escape(&workload.name), escape(&who), escape(&ports)));
            }
        }
        let title = format!("{what}: {}", count(side.names.len(), "workload"));
        tables.push(Table { title, head: "| workload | connections | ports |\n| --- | --- | --- |\n", rows });
    }
    tables
}

/// Text that means itself in a cell of a table.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '*' | '_' | '`' | '[' | ']' | '#' | '~' | '@' => out.extend(['\\', c]),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A place as code. What would end the code or the cell is replaced.
fn code(text: &str) -> String {
    let clean: String = text.chars().map(|c| if c == '`' || c.is_control() { ' ' } else { c }).collect();
    format!("`{}`", clean.replace('|', "\\|"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netsim_shared::cluster::ClusterIndex;
    use netsim_shared::compile::{Compiled, Modes};
    use netsim_shared::difference::{Both, Cluster, Options};
    use netsim_shared::ingest::ingest;

    #[test]
    fn text_means_itself_in_a_cell() {
        assert_eq!(escape("a|b*_`<x>\n[y](z)"), "a\\|b\\*\\_\\`&lt;x&gt; \\[y\\](z)");
        assert_eq!(code("a`b|c.yaml:3"), "`a b\\|c.yaml:3`");
    }

    /// A cluster of pods that each have a rule of their own, with ports of its own.
    fn different_everywhere(pods: usize) -> Difference {
        let mut old = String::new();
        let mut new = String::new();
        for i in 0..pods {
            let pod = format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{i}, namespace: n{i}, labels: {{app: a{i}}}}}\n"
            );
            old.push_str(&pod);
            new.push_str(&pod);
            new.push_str(&format!(
                "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
                 metadata: {{name: policy-{i}, namespace: n{i}}}\n\
                 spec: {{podSelector: {{}}, ingress: [{{ports: [{{port: {}}}]}}]}}\n",
                i + 1
            ));
        }
        let read = |text: &str| ClusterIndex::new(ingest("cluster.yaml", text.as_bytes(), "default").objects);
        let (old, new) = (read(&old), read(&new));
        let (before, after) = (Compiled::new(&old, &Modes::default()), Compiled::new(&new, &Modes::default()));
        let clusters =
            Both { old: Cluster { index: &old, compiled: &before }, new: Cluster { index: &new, compiled: &after } };
        Difference::new(clusters, &Options { outside: true, namespaces: Vec::new(), ports: None })
    }

    #[test]
    fn a_comment_is_never_too_long() {
        let whole = comment(&different_everywhere(20), LIMIT);
        assert!(!whole.contains("left out"), "{whole}");
        let difference = different_everywhere(600);
        let page = comment(&difference, LIMIT);
        let length = page.chars().count();
        assert!((LIMIT - RESERVE - 1000..=LIMIT).contains(&length), "{length}");
        let shown = page.lines().filter(|line| line.contains("| ingress: ")).count();
        assert!(page.contains(&format!("\n{} rows are left out", difference.changes.len() - shown)), "{shown}");
        assert_eq!(page.matches("<details>").count(), page.matches("</details>").count());
    }
}
