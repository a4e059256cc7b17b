//! What is measured of an agent while it works, and what may not grow.

use super::super::cluster::Agent;
use netsim_testkit::netns::Place;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One look at an agent.
#[derive(Debug, Clone)]
pub struct Sample {
    values: BTreeMap<&'static str, f64>,
}

/// What a value of the table is, and how it is judged.
struct Row {
    name: &'static str,
    unit: &'static str,
    /// How much more the last third may have than the first: a factor and an addend.
    bound: Option<(f64, f64)>,
}

const fn row(name: &'static str, unit: &'static str, bound: Option<(f64, f64)>) -> Row {
    Row { name, unit, bound }
}

/// Numbers of things that the churn itself makes more and fewer have generous bounds: that they are what they should be
/// is said by `verify`.
const ROWS: [Row; 13] = [
    row("memory, resident", "MiB", Some((1.1, 6.0))),
    row("memory, anonymous", "MiB", Some((1.1, 6.0))),
    row("open files", "", Some((1.0, 3.0))),
    row("threads", "", Some((1.0, 1.0))),
    row("lines of /metrics", "", Some((1.1, 40.0))),
    row("chains", "", Some((1.5, 10.0))),
    row("sets and maps", "", Some((1.5, 10.0))),
    row("elements", "", Some((1.5, 200.0))),
    row("addresses of names", "", Some((1.5, 20.0))),
    row("names asked for", "", Some((1.5, 5.0))),
    row("tracked connections", "", Some((1.5, 500.0))),
    row("processor time", "s", None),
    row("sweeps of marks", "", None),
];

impl Sample {
    /// Looks.
    pub fn take(agent: &Agent, node: &Place) -> Self {
        let metrics = Metrics::of(agent);
        let pid = agent.pid();
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("a running agent");
        let entries = |file: &str| std::fs::read_dir(format!("/proc/{pid}/{file}")).expect("a running agent").count();
        let status = read("status");
        let kib = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).expect("a line of the status");
            line.split_whitespace().nth(1).and_then(|n| n.parse::<f64>().ok()).expect("a number")
        };
        // After the name of the program, which may have anything in it: utime and stime, in hundredths.
        let stat = read("stat");
        let ticks = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|n| n.parse::<f64>().ok()).sum();
        let tracked = node.exec(|| std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count"));
        let tracked = tracked.ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default();
        let count = |n: usize| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let values = BTreeMap::from([
            ("memory, resident", kib("VmRSS:") / 1024.0),
            ("memory, anonymous", kib("RssAnon:") / 1024.0),
            ("open files", count(entries("fd"))),
            ("threads", count(entries("task"))),
            ("lines of /metrics", count(metrics.lines)),
            ("chains", metrics.value("table_chains")),
            ("sets and maps", metrics.value("table_sets")),
            ("elements", metrics.value("table_elements")),
            ("addresses of names", metrics.value("dns_elements")),
            ("names asked for", metrics.value("dns_names")),
            ("tracked connections", tracked),
            ("processor time", ticks / 100.0),
            ("sweeps of marks", metrics.value("conntrack_sweeps_total")),
        ]);
        Sample { values }
    }

    pub fn value(&self, name: &str) -> f64 {
        self.values[name]
    }
}

/// The metrics of an agent at a time.
pub struct Metrics {
    text: String,
    lines: usize,
}

impl Metrics {
    pub fn of(agent: &Agent) -> Self {
        let (_, text) = agent.get("/metrics");
        Metrics { lines: text.lines().filter(|line| !line.starts_with('#')).count(), text }
    }

    /// A metric by its name without the prefix, all labels together.
    pub fn value(&self, name: &str) -> f64 {
        let name = format!("netsim_enforcer_{name}");
        let of = self.text.lines().filter(|line| line.split([' ', '{']).next() == Some(name.as_str()));
        let values: Vec<f64> = of.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
        assert!(!values.is_empty(), "no metric `{name}`");
        values.iter().sum()
    }

    /// The buckets of a histogram: upper end, and how many are not above it.
    fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let start = format!("netsim_enforcer_{name}_bucket{{le=\"");
        let of = self.text.lines().filter_map(|line| line.strip_prefix(&start)?.split_once("\"} "));
        of.filter_map(|(end, count)| Some((end.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))).collect()
    }

    /// The upper end of the bucket that holds a quantile of what was seen since an earlier time.
    pub fn quantile(&self, since: &Metrics, name: &str, quantile: f64) -> f64 {
        let before = since.buckets(name);
        let seen: Vec<(f64, f64)> =
            self.buckets(name).iter().zip(&before).map(|((end, now), (_, then))| (*end, now - then)).collect();
        let total = seen.last().map_or(0.0, |(_, count)| *count);
        seen.iter().find(|(_, count)| *count >= total * quantile).map_or(f64::INFINITY, |(end, _)| *end)
    }
}

fn median(samples: &[Sample], name: &str) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(|sample| sample.value(name)).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The table of all values by thirds of the time, and what grew beyond its bound.
pub fn table(samples: &[Sample]) -> (String, Vec<String>) {
    let third = samples.len() / 3;
    let (first, middle, last) =
        (&samples[..third], &samples[third..samples.len() - third], &samples[samples.len() - third..]);
    let mut text =
        String::from("| | first third | second third | last third | most |\n| --- | --- | --- | --- | --- |\n");
    let mut grown = Vec::new();
    for Row { name, unit, bound } in ROWS {
        let [a, b, c] = [first, middle, last].map(|samples| median(samples, name));
        let most = samples.iter().map(|sample| sample.value(name)).fold(0.0, f64::max);
        let figure = |value: f64| match unit {
            "" => format!("{value:.0}"),
            unit => format!("{value:.1} {unit}"),
        };
        _ = writeln!(text, "| {name} | {} | {} | {} | {} |", figure(a), figure(b), figure(c), figure(most));
        if let Some((factor, addend)) = bound
            && c > a * factor + addend
        {
            grown.push(format!("{name}: from {} to {}", figure(a), figure(c)));
        }
    }
    (text, grown)
}
