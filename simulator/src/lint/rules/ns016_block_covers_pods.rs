//! NS016: blocks that hold addresses of pods.

use super::page;
use super::parts::{BlockAt, blocks, is_private, overlap};
use super::words::{pods, some_of};
use crate::lint::{Context, Found, Rule, Severity};
use ipnet::IpNet;
use netsim_shared::compile::{Address, pod_cidrs};
use netsim_shared::net::{AddressRange, Family, PerFamily, family_of, is_within, to_blocks, to_number};
use netsim_shared::policy::IpBlock;
use std::collections::HashMap;

pub const RULE: Rule = Rule {
    id: "NS016",
    name: "block-covers-pods",
    severity: Severity::Warning,
    summary: "an `ipBlock` that holds addresses of pods: blocks are for addresses outside the cluster",
    neighbours: &[],
    page: page!("NS016"),
    check,
};

/// What is known of the addresses of pods.
struct Known {
    /// The ranges that they come from, joined.
    ranges: PerFamily<Vec<AddressRange>>,
    /// The addresses that pods have, sorted.
    addresses: PerFamily<Vec<u128>>,
}

fn check(context: &Context<'_>) -> Vec<Found> {
    let known = known(context);
    let mut judged: HashMap<&IpBlock, Option<(String, String)>> = HashMap::new();
    let found = blocks(context).filter_map(|at| {
        let said = judged.entry(at.block).or_insert_with(|| judge(context, &known, &at));
        said.as_ref().map(|(message, help)| at.found(message.clone()).help(help.clone()))
    });
    found.collect()
}

fn known(context: &Context<'_>) -> Known {
    let nets = pod_cidrs(context.index, context.compiled.modes());
    let ranges = PerFamily::from_fn(|family| {
        let mut ranges: Vec<AddressRange> =
            nets.iter().filter(|net| family_of(net) == family).map(|net| AddressRange::from(*net)).collect();
        ranges.sort_unstable();
        // Ranges of nodes follow each other: what they make together is the range that people know.
        ranges.dedup_by(|next, before| {
            let joins = next.first <= before.last.saturating_add(1);
            if joins {
                before.last = before.last.max(next.last);
            }
            joins
        });
        ranges
    });
    let mut addresses: PerFamily<Vec<u128>> = PerFamily::default();
    for (_, entry) in context.compiled.entries().filter(|(_, entry)| !entry.endpoint.host_network) {
        for family in Family::ALL {
            if let Address::Known(address) = entry.endpoint.addresses.get(family) {
                addresses.get_mut(family).push(to_number(*address));
            }
        }
    }
    addresses.v4.sort_unstable();
    addresses.v6.sort_unstable();
    Known { ranges, addresses }
}

/// Message and help, if there is something to tell.
fn judge(context: &Context<'_>, known: &Known, at: &BlockAt<'_>) -> Option<(String, String)> {
    let block = at.block;
    if at.is_whole_family() && !leaves_out_the_inside(block) {
        return None;
    }
    let family = at.family();
    let held = at.ranges();
    let inside = |range: &AddressRange| held.iter().any(|held| overlap(held, range));
    let ranges: Vec<IpNet> =
        known.ranges.get(family).iter().filter(|range| inside(range)).flat_map(|r| to_blocks(family, *r)).collect();
    let addresses = known.addresses.get(family);
    let between = |range: &AddressRange| {
        let from = addresses.partition_point(|address| *address < range.first);
        addresses.get(from..addresses.partition_point(|address| *address <= range.last)).unwrap_or_default()
    };
    let count: usize = held.iter().map(|range| between(range).len()).sum();
    if ranges.is_empty() && count == 0 {
        return None;
    }
    let what = match (&ranges[..], count) {
        ([], 1) => "the address of a pod".to_owned(),
        ([], count) => format!("the addresses of {}", pods(count)),
        (ranges, _) => {
            format!("pod addresses, from {}", some_of(&ranges.iter().map(ToString::to_string).collect::<Vec<_>>()))
        }
    };
    if !context.compiled.modes().ip_block_matches_pods {
        let message = format!("`{block}` holds {what}, and blocks do not match pods here");
        return Some((message, "select pods with `podSelector` and `namespaceSelector`".to_owned()));
    }
    if block.cidr.prefix_len() == block.cidr.max_prefix_len()
        && let Some((pod, labels)) = first_pod(context, family, &held, between)
    {
        let message = format!("`{block}` is the address of pod {pod}, until that is replaced");
        let such = if labels.is_empty() { String::new() } else { format!(" such as `{labels}`") };
        return Some((message, format!("select it by labels{such}")));
    }
    let message = format!("`{block}` holds {what}: it matches every pod there, of every namespace");
    Some((message, help_for(block, &ranges)))
}

/// Blocks around the pods want an exception, blocks among them a selector.
fn help_for(block: &IpBlock, ranges: &[IpNet]) -> String {
    let around = !ranges.is_empty() && ranges.iter().all(|range| is_within(range, &block.cidr) && *range != block.cidr);
    if around && ranges.len() <= 4 {
        let list: Vec<String> = ranges.iter().map(ToString::to_string).collect();
        return format!(
            "if only the outside is meant, add {} to `except`; pods are meant by selectors",
            super::words::all_of(&list)
        );
    }
    "pods are meant by `podSelector` and `namespaceSelector`: their addresses change".to_owned()
}

/// The name and labels of the first pod in a block.
fn first_pod<'k>(
    context: &Context<'_>,
    family: Family,
    held: &[AddressRange],
    between: impl Fn(&AddressRange) -> &'k [u128],
) -> Option<(String, String)> {
    let address = held.iter().find_map(|range| between(range).first())?;
    let id = context.compiled.at_address(netsim_shared::net::from_number(family, *address))?;
    let endpoint = context.endpoint(id)?;
    Some((endpoint.key.to_string(), endpoint.labels.to_string()))
}

/// Whether the exceptions of a block of everything take away private addresses, and not only single ones.
fn leaves_out_the_inside(block: &IpBlock) -> bool {
    block.except.iter().any(|net| is_private(net) && net.prefix_len() < net.max_prefix_len())
}
