//! Flows without their times, to be compared: two lists of the same connections are the same text.

use super::{Flow, Reason, Verdict};
use netsim_shared::policy::Direction;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// All flows of one kind. They are ordered by direction, ends, port, and then the rest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Summary {
    /// Which end policy bound: the destination by ingress, the source by egress.
    #[serde(serialize_with = "super::direction")]
    pub direction: Direction,
    /// Who opened the connection: `ns/pod`, or an address.
    pub source: Box<str>,
    /// Who it was opened to.
    pub destination: Box<str>,
    /// The protocol.
    pub protocol: Box<str>,
    /// The destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What became of it.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The policies that isolated the bound end at any time.
    pub isolated_by: Vec<Box<str>>,
    /// How many packets were told of.
    pub packets: u64,
}

/// Sums flows up, whatever their order and however they were cut into pieces.
pub fn summary<'f>(flows: impl IntoIterator<Item = &'f Flow>) -> Vec<Summary> {
    let mut sums: BTreeMap<_, (BTreeSet<Box<str>>, u64)> = BTreeMap::new();
    for flow in flows {
        let ends: [Box<str>; 2] = [flow.source.to_string().into(), flow.destination.to_string().into()];
        let kind = (flow.direction, ends, flow.protocol.clone(), flow.port, flow.verdict, flow.reason);
        let (policies, packets) = sums.entry(kind).or_default();
        policies.extend(flow.isolated_by.iter().cloned());
        *packets = packets.saturating_add(flow.packets);
    }
    let mut out = Vec::with_capacity(sums.len());
    for ((direction, [source, destination], protocol, port, verdict, reason), (policies, packets)) in sums {
        let isolated_by = policies.into_iter().collect();
        out.push(Summary { direction, source, destination, protocol, port, verdict, reason, isolated_by, packets });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flows::tests::flow;

    #[test]
    fn order_and_pieces_do_not_matter() {
        let other = Flow { port: Some(80), packets: 7, ..flow() };
        let changed = Flow { isolated_by: vec!["shop/another".into()], packets: 4, ..flow() };
        let pieces = [flow(), other.clone(), changed.clone(), flow()];
        let mut turned = pieces.clone();
        turned.reverse();
        let sums = summary(&pieces);
        assert_eq!(sums, summary(&turned));
        let lines: Vec<String> = sums.iter().map(|sum| serde_json::to_string(sum).unwrap()).collect();
        assert_eq!(
            lines,
            [
                r#"{"direction":"ingress","source":"shop/frontend","destination":"shop/db","protocol":"TCP","port":80,"verdict":"denied","reason":"policy","isolated_by":["shop/default-deny"],"packets":7}"#,
                r#"{"direction":"ingress","source":"shop/frontend","destination":"shop/db","protocol":"TCP","port":5432,"verdict":"denied","reason":"policy","isolated_by":["shop/another","shop/default-deny"],"packets":6}"#,
            ]
        );
    }
}
