//! The whole cluster as data for a reader that has no compiler: who there is, what each pair comes to,
//! and what explains it. Written by [`Survey::new`], read by the page of `netsim report`.
//!
//! ```text
//! Listing (verdicts) ──┐
//! Compiled (rules) ────┼─▶ entities ─▶ reach: rows × columns, coded by classes
//! ClusterIndex ────────┘      └──────▶ sides: groups of policies, kinds of peers, rules with their peers
//! ```
//!
//! A verdict is looked up: the entity's `column`, and in it the entity's `row`. So is its explanation:
//! the policies of the source's egress group and of the destination's ingress group, and of their rules
//! those whose peers hold the other end's kind. Nothing of a selector is left to be understood by the
//! reader. Everything is numbered in the order of entities, so that numbers that belong together follow
//! one another and runs stay long.

mod build;
mod cells;
mod lines;
mod rules;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A file, by its number in `files`, and a line.
pub type At = (u32, u32);
/// The number of a protocol (of [`crate::ports::Protocol::ALL`]), the first port and the last.
pub type Ports = (u8, u16, u16);
/// A number of an entry of `names`, and the port that it stands for.
pub type NamedNumber = (u32, u16);

/// A cluster surveyed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Survey {
    /// The files that things were read from.
    pub files: Vec<String>,
    /// The namespaces, by name.
    pub namespaces: Vec<Namespace>,
    /// The namespaces that were asked for; empty when all were. Pairs without an end in them were not
    /// asked about.
    pub only: Vec<u32>,
    /// Who connects: by namespace and name, the outside last.
    pub entities: Vec<Entity>,
    /// What pairs come to; the first is "denied".
    pub reaches: Vec<Reach>,
    /// The distinct columns: for each row what it comes to, as runs of (how many, number in `reaches`).
    pub columns: Vec<Vec<(u32, u32)>>,
    /// The policies, by namespace and name.
    pub policies: Vec<Policy>,
    /// What isolates destinations, and what its rules say of sources.
    pub ingress: Side,
    /// What isolates sources, and what its rules say of destinations.
    pub egress: Side,
}

/// A namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether the input defines it (B4).
    pub defined: bool,
}

/// Pods that no rule tells apart in either role, or addresses outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entity {
    /// Its name: `ns/pod`, `ns/deploy/name`, `ns/first-pod+4`, or addresses.
    pub name: String,
    /// What stands for it in a question, where its name does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub word: Option<String>,
    /// Its namespace; `None` for addresses outside.
    pub namespace: Option<u32>,
    /// How many pods, or templates, it is.
    pub pods: u32,
    /// Whether it is one pod, which always reaches itself (A6).
    #[serde(default, skip_serializing_if = "is_false")]
    pub single: bool,
    /// Whether it is on its node's network (D1).
    #[serde(default, skip_serializing_if = "is_false")]
    pub host: bool,
    /// The families that it has addresses in: 1 for IPv4, 2 for IPv6, 3 for both.
    pub families: u8,
    /// Where the first of it was read.
    pub at: Option<At>,
    /// Its row as a source; `None` when it is a destination only, as blocks outside may be.
    pub row: Option<u32>,
    /// Its column as a destination.
    pub column: Option<u32>,
    /// The group of policies that isolate it for ingress; 0 for none.
    pub ingress: u32,
    /// The group of policies that isolate it for egress; 0 for none.
    pub egress: u32,
    /// Its kind as a peer of ingress rules, where it is a source.
    pub as_source: Option<u32>,
    /// Its kind as a peer of egress rules, where it is a destination.
    pub as_destination: Option<u32>,
}

/// What pairs come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reach {
    /// The ports that are open in every family that both have.
    pub open: Vec<Ports>,
    /// Those open over IPv4 only (B6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_v4: Vec<Ports>,
    /// Those open over IPv6 only (B6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only_v6: Vec<Ports>,
    /// Whether the rest cannot be told, and for want of what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<Missing>,
    /// Whether it is open because they are a pod and its own node (D2).
    #[serde(default, skip_serializing_if = "is_false")]
    pub own_node: bool,
}

/// What is missing to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Missing {
    /// An address (B8).
    Address,
    /// Which node a pod runs on, or which node the other end is (D2).
    Node,
}

/// A policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Its namespace.
    pub namespace: u32,
    /// Its name.
    pub name: String,
    /// Where it was read.
    pub at: Option<At>,
    /// Its `podSelector`, in words.
    pub selector: String,
    /// Its ingress rules; `None` when it does not isolate for ingress.
    pub ingress: Option<Vec<Rule>>,
    /// Its egress rules; `None` when it does not isolate for egress.
    pub egress: Option<Vec<Rule>>,
}

/// A rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// The line that it begins on; 0 when that is not known.
    pub line: u32,
    /// Its peers, a number in `peers` of its side; `None` for every peer.
    pub peers: Option<u32>,
    /// The numbers of its ports.
    pub ports: Vec<Ports>,
    /// The names of its ports, numbers in `names` of its side.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<u32>,
}

/// One direction.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Side {
    /// The port names that rules use: protocol and name.
    pub names: Vec<(u8, String)>,
    /// Groups of policies that isolate the same; the first is the empty one.
    pub groups: Vec<Group>,
    /// The kinds of peers: what port names stand for on each (egress only: C3 asks the destination).
    pub kinds: Vec<Vec<NamedNumber>>,
    /// Distinct lists of peers of rules.
    pub peers: Vec<Peers>,
}

/// Policies that isolate the same pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// The policies.
    pub policies: Vec<u32>,
    /// What port names stand for on these pods (ingress only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamedNumber>,
}

/// The peers of a rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Peers {
    /// Each item in words.
    pub items: Vec<String>,
    /// The kinds that they hold, by how: [`SURE_V4`] and so on, and runs of (first kind, how many).
    pub holds: Vec<(u8, Vec<(u32, u32)>)>,
}

/// Peers hold it surely over IPv4.
pub const SURE_V4: u8 = 1;
/// Peers hold it surely over IPv6.
pub const SURE_V6: u8 = 2;
/// Peers may hold it over IPv4: it has no address yet (B8).
pub const MAY_V4: u8 = 4;
/// Peers may hold it over IPv6.
pub const MAY_V6: u8 = 8;

impl Survey {
    /// What a pair comes to: a number in `reaches`. `None` when it is not asked about: an end is not in
    /// that role, neither lies in the cluster, or neither in the namespaces that were asked for.
    pub fn reach(&self, source: usize, destination: usize) -> Option<u32> {
        let (from, to) = (self.entities.get(source)?, self.entities.get(destination)?);
        let (row, column) = (from.row?, self.columns.get(to.column? as usize)?);
        if from.namespace.is_none() && to.namespace.is_none() {
            return None;
        }
        let asked = |entity: &Entity| entity.namespace.is_some_and(|n| self.only.contains(&n));
        if !self.only.is_empty() && !asked(from) && !asked(to) {
            return None;
        }
        let mut end = 0;
        let run = column.iter().find(|(count, _)| {
            end += count;
            row < end
        });
        Some(run.map_or(0, |(_, reach)| *reach))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
