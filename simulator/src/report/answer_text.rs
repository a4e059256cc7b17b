//! The answer of `can-reach` for people: the verdict first, then why.

use super::answer_json::{exemption, explained};
use super::style;
use crate::commands::can_reach::Asked;
use netsim_shared::diagnostic::Place;
use netsim_shared::evaluate::{Decision, Judgement, Outcome, Party};
use netsim_shared::explain::{Advice, Change, Fix, advise_both, advise_name};
use netsim_shared::manifest::policy_yaml;
use netsim_shared::object::Path;
use netsim_shared::policy::{Direction, NetworkPolicy};
use netsim_shared::ports::PortSet;
use netsim_shared::query::{Connection, Judged, Verdict};
use std::io::{self, Write};

/// How many connections of an answer are explained one by one.
const MAX_EXPLAINED: usize = 10;

/// Writes the answer; with `explain`, why it is allowed too.
pub fn write(out: &mut dyn Write, asked: &Asked<'_>, explain: bool) -> io::Result<()> {
    let left_out = write_some(out, asked, explain, MAX_EXPLAINED, &[])?;
    if left_out > 0 {
        writeln!(out, "\n… and {left_out} more (all of them: -o json)")?;
    }
    rest(out, asked)
}

/// Writes the verdict and the first connections; gives back how many are left out. `open` are the ports that are open,
/// of connections that stand for more than their own.
pub fn write_some(
    out: &mut dyn Write,
    asked: &Asked<'_>,
    explain: bool,
    limit: usize,
    open: &[Option<PortSet>],
) -> io::Result<usize> {
    let answer = asked.answer;
    let (bold, colour) = (style::BOLD, style::verdict(answer.verdict));
    let incomplete = if answer.incomplete.is_empty() { "" } else { ", incomplete" };
    writeln!(
        out,
        "{colour}{}{incomplete}{colour:#}  {bold}{} → {}{bold:#}",
        answer.verdict, asked.source, asked.destination
    )?;
    let several = answer.connections.len() > 1;
    for (i, c) in answer.connections.iter().enumerate().take(limit) {
        if several || needs_heading(asked, c) {
            heading(out, c)?;
        }
        if let Some(Some(ports)) = open.get(i) {
            writeln!(out, "  open: {ports}")?;
        }
        // A denial always says why; what is allowed only when asked.
        if explain || c.verdict != Verdict::Allowed {
            reasons(out, asked, c)?;
            to_name(out, asked, c)?;
        }
    }
    Ok(answer.connections.len().saturating_sub(limit))
}

/// Writes what has to be said with an answer.
pub fn rest(out: &mut dyn Write, asked: &Asked<'_>) -> io::Result<()> {
    let answer = asked.answer;
    for note in &answer.notes {
        writeln!(out, "note: {note}")?;
    }
    if !answer.incomplete.is_empty() {
        writeln!(out, "incomplete: these policies were not understood and could change the answer:")?;
        for policy in &answer.incomplete {
            let namespace = policy.namespace.as_ref().map_or(String::new(), |n| format!("{n}/"));
            writeln!(
                out,
                "  {} {namespace}{} ({}){}",
                policy.kind,
                policy.name,
                policy.api_version,
                at(policy.origin.place())
            )?;
        }
    }
    Ok(())
}

/// Whether what was found differs from what was typed, so that it has to be said.
fn needs_heading(asked: &Asked<'_>, c: &Connection) -> bool {
    let port = c.port.map(|p| format!(":{p}")).unwrap_or_default();
    // The brackets of an IPv6 address only set its port apart.
    let typed = asked.destination.replace(['[', ']'], "");
    c.source.name != asked.source || format!("{}{port}", c.destination_name) != typed
}

fn heading(out: &mut dyn Write, c: &Connection) -> io::Result<()> {
    let colour = style::verdict(c.verdict);
    let more = |count: usize| if count > 1 { format!(" (and {} alike)", count - 1) } else { String::new() };
    let port = match (c.protocol, c.port) {
        (Some(protocol), Some(port)) => format!("{protocol} {port}"),
        (Some(protocol), None) => format!("{protocol}, every port"),
        _ => "every port".to_owned(),
    };
    writeln!(
        out,
        "\n{colour}{}{colour:#}  {}{} → {}{}  {port}",
        c.verdict,
        c.source.name,
        more(c.sources),
        c.destination_name,
        more(c.destinations)
    )
}

fn reasons(out: &mut dyn Write, asked: &Asked<'_>, c: &Connection) -> io::Result<()> {
    match &c.judged {
        Judged::Name(judged) => writeln!(out, "  {}", judged.why),
        Judged::Other(why) => writeln!(out, "  {why}"),
        Judged::Ports(by_family) => {
            for (family, ports) in by_family {
                let allowed =
                    if ports.is_empty() { "no port is allowed".to_owned() } else { format!("{ports} allowed") };
                writeln!(out, "  over {family}: {allowed}")?;
            }
            if c.verdict != Verdict::Allowed {
                writeln!(out, "  (name a port to see why)")?;
            }
            Ok(())
        }
        Judged::Port(decisions) => {
            // Families that come out alike are told once.
            let same = decisions.windows(2).all(|w| matches!(w, [a, b] if alike(a, b)));
            let shown = if same { decisions.get(..1).unwrap_or_default() } else { decisions };
            for decision in shown {
                if shown.len() > 1 {
                    writeln!(out, "  over {}: {}", decision.family, super::answer_json::outcome(decision.outcome))?;
                }
                one_decision(out, asked, c, decision)?;
            }
            Ok(())
        }
    }
}

fn alike(a: &Decision, b: &Decision) -> bool {
    let rule = |j: &Judgement| j.allowed_by.as_ref().map(|r| r.name());
    a.outcome == b.outcome && rule(&a.egress) == rule(&b.egress) && rule(&a.ingress) == rule(&b.ingress)
}

fn one_decision(out: &mut dyn Write, asked: &Asked<'_>, c: &Connection, decision: &Decision) -> io::Result<()> {
    if let Some(exempt) = &decision.exemption {
        return writeln!(out, "  {}, whatever the policies", exemption(exempt));
    }
    let advice =
        explained(c, decision.family).map(|e| advise_both(&asked.loaded.index, &asked.loaded.compiled, &e, decision));
    let outside = |party: Option<Party>| matches!(party, Some(Party::Address(_)));
    let (from, to) = (outside(Some(c.source.party)), outside(c.destination.as_ref().map(|d| d.party)));
    let sides = [
        (Direction::Egress, &c.source.name, from, &decision.egress),
        (Direction::Ingress, &c.destination_name, to, &decision.ingress),
    ];
    for (direction, who, outside, judgement) in sides {
        if outside {
            writeln!(out, "  {direction} of {who}: allowed, policies bind pods only")?;
            continue;
        }
        one_side(out, direction, who, judgement, decision.outcome)?;
        let found = advice.iter().flatten().find(|(d, _)| *d == direction).map(|(_, advice)| advice);
        if let Some(advice) = found {
            near(out, advice)?;
        }
    }
    // What lets a name pass is told once for all its addresses.
    if decision.outcome != Outcome::Allowed && c.to_name.is_none() {
        let changes: Vec<_> = advice.iter().flatten().filter_map(|(_, advice)| advice.change.as_ref()).collect();
        if !changes.is_empty() {
            let whatever = if decision.outcome == Outcome::Unknown { ", whatever is missing" } else { "" };
            writeln!(out, "  the smallest change that would allow it{whatever}:")?;
        }
        for change in changes {
            one_change(out, change)?;
        }
    }
    Ok(())
}

fn one_change(out: &mut dyn Write, change: &Change) -> io::Result<()> {
    let place = change.policy.origin.place_of(&change.path());
    let all = for_all(change.selected, "rule");
    writeln!(out, "    add to {} of {}{all}{}:", change.path(), name(&change.policy), at(place))?;
    lines(out, &change.to_yaml())
}

fn for_all(selected: usize, what: &str) -> String {
    if selected > 1 { format!(" (it selects {selected} pods, the {what} is for all of them)") } else { String::new() }
}

fn lines(out: &mut dyn Write, yaml: &str) -> io::Result<()> {
    yaml.lines().try_for_each(|line| writeln!(out, "      {line}"))
}

/// What there is to say of a connection because it goes to a name: why the name cannot be looked up, and what would
/// let it pass.
fn to_name(out: &mut dyn Write, asked: &Asked<'_>, c: &Connection) -> io::Result<()> {
    let Some(to_name) = &c.to_name else { return Ok(()) };
    if let Some(why) = to_name.no_lookup(&asked.loaded.compiled, &c.source) {
        writeln!(out, "  {why}")?;
    }
    let fixes = advise_name(&asked.loaded.index, &asked.loaded.compiled, c);
    if !fixes.is_empty() {
        let whatever = if c.verdict == Verdict::Unknown { ", whatever is missing" } else { "" };
        writeln!(out, "  the smallest change that would allow it{whatever}:")?;
    }
    for fix in &fixes {
        match fix {
            Fix::Rule(change) => one_change(out, change)?,
            Fix::Policy { policy, selected } => {
                writeln!(out, "    apply this new policy{}:", for_all(*selected, "policy"))?;
                lines(out, &policy_yaml(policy, &[]))?;
            }
        }
    }
    Ok(())
}

fn name(policy: &NetworkPolicy) -> String {
    format!("{}/{}", policy.namespace, policy.name)
}

fn at(place: Option<Place>) -> String {
    let quiet = style::QUIET;
    place.map_or(String::new(), |p| format!("  {quiet}{}:{}{quiet:#}", p.source, p.line))
}

fn one_side(
    out: &mut dyn Write,
    direction: Direction,
    who: &str,
    judgement: &Judgement,
    outcome: Outcome,
) -> io::Result<()> {
    if judgement.isolated_by.is_empty() {
        return writeln!(out, "  {direction} of {who}: allowed, no policy isolates it for {direction}");
    }
    match &judgement.allowed_by {
        Some(rule) => {
            let place = rule.policy.origin.place_of(&rule.path());
            writeln!(out, "  {direction} of {who}: allowed by")?;
            writeln!(out, "    {}{}", rule.name(), at(place))
        }
        None => {
            // What cannot be told is never called denied (H1).
            let word = if outcome == Outcome::Unknown { "allowed by nothing that is known" } else { "denied" };
            writeln!(out, "  {direction} of {who}: {word}, isolated by")?;
            for policy in &judgement.isolated_by {
                writeln!(out, "    {}{}", name(policy), at(policy.origin.place_of(&Path::default())))?;
            }
            Ok(())
        }
    }
}

fn near(out: &mut dyn Write, advice: &Advice) -> io::Result<()> {
    if !advice.near.is_empty() {
        writeln!(out, "    nearly allowed by")?;
    }
    for miss in &advice.near {
        let place = miss.rule.policy.origin.place_of(&miss.path);
        writeln!(out, "      {} {}{}", name(&miss.rule.policy), miss.path, at(place))?;
        writeln!(out, "        {}", miss.why)?;
    }
    Ok(())
}
