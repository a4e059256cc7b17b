//! Policies as YAML, written for people: what is advised or suggested and can be applied.

use crate::policy::{Direction, NetworkPolicy, Peer, PolicyKind, PortMatch, Rule};
use crate::ports::PortRange;
use crate::selector::{Condition, Selector};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// A policy as a manifest. `why` stands above it as comments, a line each.
pub fn policy_yaml(policy: &NetworkPolicy, why: &[String]) -> String {
    let mut out = String::new();
    for text in why.iter().flat_map(|text| text.lines()) {
        line(&mut out, "# ", text);
    }
    let api = match policy.kind {
        PolicyKind::NetworkPolicy => "networking.k8s.io/v1",
        PolicyKind::EgressDomainPolicy => "netsim.dev/v1alpha1",
    };
    line(&mut out, "", &format!("apiVersion: {api}"));
    line(&mut out, "", &format!("kind: {}", policy.kind.kind()));
    line(&mut out, "", "metadata:");
    line(&mut out, "  ", &format!("name: {}", quoted(policy.own_name())));
    line(&mut out, "  ", &format!("namespace: {}", quoted(&policy.namespace)));
    line(&mut out, "", "spec:");
    write_selector(&mut out, "  ", "  ", "podSelector", &policy.pod_selector);
    if policy.kind == PolicyKind::NetworkPolicy {
        line(&mut out, "  ", "policyTypes:");
        for direction in Direction::ALL.into_iter().filter(|direction| policy.rules(*direction).is_some()) {
            line(&mut out, "    - ", direction.policy_type());
        }
    }
    for direction in Direction::ALL {
        let rules = policy.rules(direction).unwrap_or_default();
        if !rules.is_empty() {
            line(&mut out, "  ", &format!("{}:", direction.field()));
        }
        for text in rules.iter().map(|rule| rule_yaml(direction, rule)) {
            for row in text.lines() {
                line(&mut out, "    ", row);
            }
        }
    }
    out
}

/// A rule as an item of a list, without indentation before it.
pub fn rule_yaml(direction: Direction, rule: &Rule) -> String {
    let mut out = String::new();
    if rule.peers.is_none() && rule.ports.is_none() {
        line(&mut out, "- ", "{}");
        return out;
    }
    let mut first = "- ";
    if let Some(peers) = &rule.peers {
        line(&mut out, first, &format!("{}:", direction.peer_field()));
        first = "  ";
        for peer in peers {
            write_peer(&mut out, peer);
        }
    }
    if let Some(ports) = &rule.ports {
        line(&mut out, first, "ports:");
        for port in ports {
            line(&mut out, "    - ", &format!("protocol: {}", port.protocol()));
            match port {
                PortMatch::Named(named) => line(&mut out, "      ", &format!("port: {}", quoted(&named.name))),
                PortMatch::Range(range) if *range == PortRange::all_of(range.protocol) => {}
                PortMatch::Range(range) => {
                    line(&mut out, "      ", &format!("port: {}", range.from));
                    if range.to != range.from {
                        line(&mut out, "      ", &format!("endPort: {}", range.to));
                    }
                }
            }
        }
    }
    out
}

fn line(out: &mut String, indent: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{indent}{text}");
}

fn write_peer(out: &mut String, peer: &Peer) {
    match peer {
        Peer::Block(block) => {
            line(out, "    - ", "ipBlock:");
            line(out, "        ", &format!("cidr: {}", quoted(&block.cidr.to_string())));
            if !block.except.is_empty() {
                line(out, "        ", "except:");
            }
            for except in &block.except {
                line(out, "          - ", &quoted(&except.to_string()));
            }
        }
        Peer::Names(patterns) => {
            line(out, "    - ", "domainNames:");
            for pattern in patterns {
                line(out, "        - ", &quoted(&pattern.to_string()));
            }
        }
        Peer::Pods { namespaces, pods } => {
            let mut indent = "    - ";
            if let Some(namespaces) = namespaces {
                write_selector(out, indent, "      ", "namespaceSelector", namespaces);
                indent = "      ";
                if pods.is_everything() {
                    return;
                }
            }
            write_selector(out, indent, "      ", "podSelector", pods);
        }
    }
}

/// A selector under its field; `first` is the indentation of the field, `rest` of what follows.
fn write_selector(out: &mut String, first: &str, rest: &str, field: &str, selector: &Selector) {
    if selector.is_everything() {
        return line(out, first, &format!("{field}: {{}}"));
    }
    line(out, first, &format!("{field}:"));
    let equal = |condition: &Condition| matches!(condition, Condition::In(values) if values.len() == 1);
    // A mapping has a key once: what else is asked of it (and can never hold) is written as expressions.
    let mut keys = BTreeSet::new();
    let (labels, expressions): (Vec<_>, Vec<_>) =
        selector.requirements().iter().partition(|r| equal(&r.condition) && keys.insert(&r.key));
    if !labels.is_empty() {
        line(out, rest, "  matchLabels:");
    }
    for requirement in labels {
        if let Condition::In(values) = &requirement.condition {
            let value = values.first().map(AsRef::as_ref).unwrap_or_default();
            line(out, rest, &format!("    {}: {}", quoted(&requirement.key), quoted(value)));
        }
    }
    if !expressions.is_empty() {
        line(out, rest, "  matchExpressions:");
    }
    for requirement in expressions {
        let (operator, values) = match &requirement.condition {
            Condition::In(values) => ("In", values.as_ref()),
            Condition::NotIn(values) => ("NotIn", values.as_ref()),
            Condition::Exists => ("Exists", &[][..]),
            Condition::DoesNotExist => ("DoesNotExist", &[][..]),
        };
        line(out, rest, &format!("    - key: {}", quoted(&requirement.key)));
        line(out, rest, &format!("      operator: {operator}"));
        if !values.is_empty() {
            let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            line(out, rest, &format!("      values: [{}]", values.join(", ")));
        }
    }
}

/// A scalar that stays text when it is read again.
fn quoted(text: &str) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "y" | "n" | "yes" | "no" | "on" | "off" | "true" | "false" | "null"
        );
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")) }
}
