//! The answer as it is handed to who asked.

use serde::{Deserialize, Serialize};

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// This node lets it pass.
    Allowed,
    /// This node drops it; in audit mode, would drop it.
    Denied,
    /// One family is allowed, and the other is not.
    Mixed,
    /// It cannot be told.
    Unknown,
    /// Nothing of it is judged by this node.
    Elsewhere,
}

impl Verdict {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Allowed => "allowed",
            Verdict::Denied => "denied",
            Verdict::Mixed => "mixed",
            Verdict::Unknown => "unknown",
            Verdict::Elsewhere => "not judged by this node",
        }
    }

    /// Of what allows, or not.
    pub fn of(allowed: bool) -> Self {
        if allowed { Verdict::Allowed } else { Verdict::Denied }
    }
}

/// What verdicts come to together.
pub fn combine(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
    let all: Vec<Verdict> = verdicts.into_iter().collect();
    match all.as_slice() {
        [] => Verdict::Unknown,
        [first, rest @ ..] if rest.iter().all(|other| other == first) => *first,
        all if all.contains(&Verdict::Unknown) => Verdict::Unknown,
        _ => Verdict::Mixed,
    }
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The node that answers.
    pub node: String,
    /// `enforce` or `audit`.
    pub mode: String,
    /// What it comes to.
    pub verdict: Verdict,
    /// Whether nothing is in doubt.
    pub certain: bool,
    /// What is in doubt.
    pub doubts: Vec<String>,
    /// What is asked about, in each family.
    pub connections: Vec<Connection>,
    /// The table, read for this answer.
    pub kernel: KernelState,
    /// What else there is to say.
    pub notes: Vec<String>,
}

/// What the kernel holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelState {
    /// Whether it holds what the agent put there; `None`: that is not known.
    pub as_programmed: Option<bool>,
    /// How many changes it took since the agent's start: the metric `programmed_generation`.
    pub generation: u64,
    /// What is otherwise, one line each.
    pub differences: Vec<String>,
}

/// An end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// What to call it: `namespace/pod`, or an address.
    pub name: String,
    /// Its address.
    pub ip: Option<std::net::IpAddr>,
}

/// A connection in a family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// Who opens it.
    pub source: End,
    /// To whom.
    pub destination: End,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The destination port.
    pub port: u16,
    /// What this node does with it.
    pub verdict: Verdict,
    /// Why no rule of this node judges it, where none does.
    pub not_judged: Option<String>,
    /// What the ruleset that the agent put into the kernel does with its first packet: `None` where that is not known,
    /// or the packet does not come by it. In audit mode everything passes.
    pub passes: Option<bool>,
    /// The egress of the source, and the ingress of the destination.
    pub sides: Vec<Side>,
    /// Why it is in doubt.
    pub doubts: Vec<String>,
}

/// One side's say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// `egress` or `ingress`.
    pub direction: String,
    /// Whose.
    pub of: String,
    /// Whether this node judges it.
    pub here: bool,
    /// The node that judges it; `None`: nobody, or it is not known who.
    pub judged_by: Option<String>,
    /// Why nobody does.
    pub unbound: Option<String>,
    /// What the rules in the kernel say.
    pub kernel: Option<Held>,
    /// What the policies say.
    pub policies: Option<Policies>,
}

impl Side {
    /// Whether rules and policies differ.
    pub fn disagrees(&self) -> bool {
        match (&self.kernel, &self.policies) {
            (Some(kernel), Some(policies)) => kernel.allowed != policies.allowed,
            _ => false,
        }
    }
}

/// What rules in the kernel say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Whether they let it pass.
    pub allowed: bool,
    /// The chain that decided.
    pub chain: Option<String>,
    /// Its rule, as nft writes it.
    pub rule: Option<String>,
}

/// What policies say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// Whether they allow it.
    pub allowed: bool,
    /// Why, where it is not for a policy.
    pub why: Option<String>,
    /// The policies that isolate this side: `namespace/name`.
    pub isolated_by: Vec<String>,
    /// The first rule that allows it: `namespace/name spec.ingress[0]`.
    pub allowed_by: Option<String>,
    /// Rules that nearly do.
    pub near: Vec<Miss>,
}

/// A rule that would allow it but for little.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miss {
    /// The policy: `namespace/name`.
    pub policy: String,
    /// The part that does not fit.
    pub path: String,
    /// What does not fit, in words.
    pub why: String,
}
