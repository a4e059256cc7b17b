//! `netsim-enforcer explain`: what this node would do with a connection; and with a cluster to load, whether the
//! simulator says the same.

use super::{DIFFERS, Failure, OK, UNCERTAIN, client, print};
use crate::args::{Explain, Output};
use crate::explain::{Connection, Explanation, Held, Policies, Side, Verdict};
use hyper::StatusCode;
use netsim::load::load;
use netsim_shared::evaluate::{Decision, Judgement};
use netsim_shared::policy::Direction;
use netsim_shared::query::{Answer, Judged, Question, Resolver, Verdict as Simulated, ask};
use serde::Serialize;
use std::fmt::Write;
use std::time::Duration;

/// How long the agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What the simulator says to the same question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Simulator {
    /// Of the whole connection, both ends together: `allowed`, `denied`, `mixed` or `unknown`.
    verdict: &'static str,
    /// Policies that were not understood could change it.
    incomplete: bool,
    /// Of each side, in each family.
    sides: Vec<SimulatedSide>,
    /// Where it does not say what the agent says.
    disagreements: Vec<String>,
    /// What there is to say of its answer.
    notes: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct SimulatedSide {
    family: String,
    direction: &'static str,
    allowed: bool,
}

/// The whole answer.
#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    agent: Explanation,
    #[serde(skip_serializing_if = "Option::is_none")]
    simulator: Option<Simulator>,
}

/// Asks, compares and prints.
///
/// # Errors
/// When no agent answers, the question makes no sense, or the input cannot be read.
pub fn run(args: &Explain) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::new)?;
    let agent = runtime.block_on(asked(args))?;
    let simulator = args.input.is_given().then(|| simulated(args, &agent)).transpose()?;
    let whole = Whole { agent, simulator };
    print(&match args.output {
        Output::Json => serde_json::to_string_pretty(&whole).map_err(Failure::new)? + "\n",
        Output::Text => text(args, &whole),
    })?;
    Ok(exit(&whole))
}

/// What the agent says.
async fn asked(args: &Explain) -> Result<Explanation, Failure> {
    let parameters = [("source", args.source.as_str()), ("destination", args.destination.as_str())];
    let response = client::ask(&args.socket.socket, "/explain", &parameters, PATIENCE).await?;
    let body = tokio::time::timeout(PATIENCE, client::text(response)).await;
    let (code, body) = body.map_err(|_| Failure::new("the agent did not answer in time"))?.map_err(Failure::new)?;
    match code {
        StatusCode::OK => serde_json::from_str(&body)
            .map_err(|error| Failure::new(format!("what answers is no agent, or one of another version: {error}"))),
        StatusCode::BAD_REQUEST => Err(Failure::new(body.trim())),
        StatusCode::SERVICE_UNAVAILABLE => Err(Failure::new(body.trim())),
        other => Err(Failure::new(format!("what answers is no agent: it says {other}"))),
    }
}

/// What the simulator says of the cluster that was given, and where that is something else.
fn simulated(args: &Explain, agent: &Explanation) -> Result<Simulator, Failure> {
    let loaded = load(&args.input.args(), &mut |warning| eprintln!("{warning}"))?;
    let resolver = Resolver { index: &loaded.index, compiled: &loaded.compiled, default_namespace: "default" };
    let question =
        Question { source: args.source.clone(), destination: args.destination.clone(), ..Question::default() };
    let answer = ask(&resolver, &question).map_err(|error| {
        let help = error.help.map(|help| format!("; {help}")).unwrap_or_default();
        Failure::new(format!("the simulator: {}{help}", error.message))
    })?;
    Ok(compared(agent, &answer))
}

fn compared(agent: &Explanation, answer: &Answer) -> Simulator {
    let decisions: Vec<&Decision> = answer
        .connections
        .iter()
        .flat_map(|connection| match &connection.judged {
            Judged::Port(decisions) => decisions.as_slice(),
            _ => &[],
        })
        .collect();
    let mut simulator = Simulator {
        verdict: answer.verdict.as_str(),
        incomplete: !answer.incomplete.is_empty(),
        sides: Vec::new(),
        disagreements: Vec::new(),
        notes: answer.notes.clone(),
    };
    for decision in &decisions {
        for direction in Direction::ALL {
            let allowed = of(decision, direction).allows();
            let family = decision.family.to_string();
            simulator.sides.push(SimulatedSide { family, direction: direction.field(), allowed });
        }
    }
    if answer.verdict == Simulated::Unknown {
        simulator.disagreements.push("the simulator cannot tell from this input".to_owned());
        return simulator;
    }
    for connection in &agent.connections {
        let decision = decisions.iter().find(|decision| decision.family.to_string() == connection.family);
        let Some(decision) = decision else {
            let what = format!("the simulator knows of no connection over {}", connection.family);
            simulator.disagreements.push(what);
            continue;
        };
        if connection.not_judged.is_some() {
            let (here, there) = (connection.verdict == Verdict::Allowed, answer.verdict == Simulated::Allowed);
            if here != there {
                simulator.disagreements.push(format!("over {}, this node judges nothing of it", connection.family));
            }
            continue;
        }
        for side in connection.sides.iter().filter(|side| side.here) {
            simulator.disagreements.extend(difference(connection, side, decision));
        }
    }
    simulator
}

fn of(decision: &Decision, direction: Direction) -> &Judgement {
    match direction {
        Direction::Egress => &decision.egress,
        Direction::Ingress => &decision.ingress,
    }
}

/// What one side is to the simulator, and is not to the agent.
fn difference(connection: &Connection, side: &Side, decision: &Decision) -> Option<String> {
    let direction = Direction::ALL.into_iter().find(|direction| direction.field() == side.direction)?;
    let judgement = of(decision, direction);
    let policies = side.policies.as_ref()?;
    let mut isolated_by: Vec<String> =
        judgement.isolated_by.iter().map(|policy| format!("{}/{}", policy.namespace, policy.name)).collect();
    isolated_by.sort_unstable();
    let mut of_agent = policies.isolated_by.clone();
    of_agent.sort_unstable();
    let word = |allowed: bool| if allowed { "allowed" } else { "denied" };
    let who = format!("{} of {} over {}", side.direction, side.of, connection.family);
    if judgement.allows() != policies.allowed {
        let (there, here) = (word(judgement.allows()), word(policies.allowed));
        return Some(format!("{who}: {there} for the simulator, {here} for the agent"));
    }
    let list = |names: &[String]| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
    (policies.why.is_none() || !isolated_by.is_empty()).then_some(())?;
    (isolated_by != of_agent).then(|| {
        format!("{who}: isolated by {} for the simulator, by {} for the agent", list(&isolated_by), list(&of_agent))
    })
}

/// 0 and 1 where all that were asked say so, 3 where they do not, or it is not certain.
fn exit(whole: &Whole) -> u8 {
    let agent = &whole.agent;
    let simulator = whole.simulator.as_ref();
    if !agent.certain || simulator.is_some_and(|simulator| simulator.incomplete || !simulator.disagreements.is_empty())
    {
        return UNCERTAIN;
    }
    match (agent.verdict, simulator.map(|simulator| simulator.verdict)) {
        (Verdict::Allowed, None | Some("allowed")) => OK,
        // Another node denies its side.
        (Verdict::Denied, _) | (Verdict::Allowed | Verdict::Elsewhere, Some("denied")) => DIFFERS,
        _ => UNCERTAIN,
    }
}

fn text(args: &Explain, whole: &Whole) -> String {
    let agent = &whole.agent;
    let doubt = if agent.certain { "" } else { ", in doubt" };
    let mut out = format!("{}{doubt}  {} → {}\n", agent.verdict.as_str(), args.source, args.destination);
    _ = writeln!(out, "  asked: node {}", agent.node);
    // Families that come out alike are told once.
    let alike = |a: &Connection, b: &Connection| {
        (a.verdict, &a.not_judged, a.passes, &a.doubts) == (b.verdict, &b.not_judged, b.passes, &b.doubts)
            && a.sides.iter().zip(&b.sides).all(|(a, b)| {
                (a.here, &a.judged_by, &a.unbound, &a.policies) == (b.here, &b.judged_by, &b.unbound, &b.policies)
                    && a.kernel.as_ref().map(|held| held.allowed) == b.kernel.as_ref().map(|held| held.allowed)
            })
    };
    let all = agent.connections.as_slice();
    let same = all.windows(2).all(|pair| matches!(pair, [a, b] if alike(a, b)));
    let shown = if same { all.get(..1).unwrap_or_default() } else { all };
    for connection in shown {
        if shown.len() > 1 {
            _ = writeln!(out, "  over {}: {}", connection.family, connection.verdict.as_str());
        }
        one(&mut out, connection);
    }
    for doubt in &agent.doubts {
        _ = writeln!(out, "  in doubt: {doubt}");
    }
    for line in &agent.kernel.differences {
        _ = writeln!(out, "    {line}");
    }
    if agent.kernel.as_programmed == Some(true) {
        _ = writeln!(out, "  the kernel holds what the agent put there (change {})", agent.kernel.generation);
    }
    if let Some(simulator) = &whole.simulator {
        let incomplete = if simulator.incomplete { ", incomplete" } else { "" };
        _ = writeln!(out, "  simulator: {}{incomplete} (both ends together)", simulator.verdict);
        for line in &simulator.disagreements {
            _ = writeln!(out, "    {line}");
        }
        if simulator.disagreements.is_empty() {
            _ = writeln!(out, "    it says the same of what this node judges");
        }
    }
    let notes = agent.notes.iter().chain(whole.simulator.iter().flat_map(|simulator| &simulator.notes));
    for note in notes {
        _ = writeln!(out, "note: {note}");
    }
    out
}

fn one(out: &mut String, connection: &Connection) {
    if let Some(why) = &connection.not_judged {
        _ = writeln!(out, "  {why}");
    }
    for side in connection.sides.iter().filter(|_| connection.not_judged.is_none()) {
        let who = format!("{} of {}", side.direction, side.of);
        match (side.here, &side.judged_by, &side.unbound) {
            (true, ..) => judged_here(out, &who, side),
            (false, Some(node), _) => _ = writeln!(out, "  {who}: judged by node {node}, not by this one"),
            (false, None, Some(why)) => _ = writeln!(out, "  {who}: allowed, {why}"),
            (false, None, None) => _ = writeln!(out, "  {who}: judged by another node, which is not known"),
        }
    }
    for doubt in &connection.doubts {
        _ = writeln!(out, "  in doubt: {doubt}");
    }
}

fn judged_here(out: &mut String, who: &str, side: &Side) {
    let word = |allowed: bool| if allowed { "allowed" } else { "denied" };
    if let Some(said) = &side.policies {
        policies(out, who, said);
    }
    match &side.kernel {
        Some(Held { allowed, chain: Some(chain), rule }) => {
            _ = writeln!(out, "    kernel: {} in chain {chain}", word(*allowed));
            if let Some(rule) = rule {
                _ = writeln!(out, "      {rule}");
            }
        }
        Some(Held { allowed, .. }) => _ = writeln!(out, "    kernel: {}, no rule is about it", word(*allowed)),
        None => _ = writeln!(out, "    kernel: not known"),
    }
}

fn policies(out: &mut String, who: &str, said: &Policies) {
    match (said.allowed, &said.why, &said.allowed_by) {
        (true, Some(why), _) => _ = writeln!(out, "  {who}: allowed, {why}"),
        (true, None, Some(rule)) => _ = writeln!(out, "  {who}: allowed by\n    {rule}"),
        (true, None, None) => _ = writeln!(out, "  {who}: allowed"),
        (false, Some(why), _) => _ = writeln!(out, "  {who}: denied, {why}"),
        (false, None, _) => {
            _ = writeln!(out, "  {who}: denied, isolated by");
            for policy in &said.isolated_by {
                _ = writeln!(out, "    {policy}");
            }
            if !said.near.is_empty() {
                _ = writeln!(out, "    nearly allowed by");
            }
            for miss in &said.near {
                _ = writeln!(out, "      {} {}\n        {}", miss.policy, miss.path, miss.why);
            }
        }
    }
}
