//! `netsim what-if`

use crate::Failure;
use crate::args::WhatIf;
use crate::commands::diff::{once, refuse_unused_cluster, tell};
use crate::exit::Exit;
use crate::load::names::Names;
use crate::load::source::Source;
use crate::load::{LoadError, cluster_ref, compile, load_from, modes, read_objects};
use crate::report::diagnostics;
use netsim_shared::cluster::{ClusterIndex, Key};
use netsim_shared::diagnostic::{Diagnostic, nearest};
use netsim_shared::difference::Both;
use netsim_shared::object::{Object, WorkloadKind};
use netsim_shared::policy::PolicyKind;
use netsim_shared::query::QueryError;

/// Compares what is there with what would be.
pub fn run(args: &WhatIf) -> Result<Exit, Failure> {
    let (base, more) = sources(args)?;
    let mut warn = once();
    let names = Names::read(&args.input.names)?;
    let old = load_from(&base, &args.input, &names, &mut warn)?;
    let objects = if more.is_empty() { Vec::new() } else { read_objects(&more, &args.input, &mut warn)? };
    let mut index = old.index.clone();
    let default = args.telling.namespaces.first().unwrap_or(&args.input.default_namespace);
    // Taken away first: a policy that -f has as well is there afterwards.
    for word in &args.delete {
        delete(&mut index, word, default)?;
    }
    for object in objects {
        say_if_without_effect(&index, &object);
        index.apply(object);
    }
    let new = compile(index, modes(&args.input)?, &names, &mut warn)?;
    tell(Both { old: &old, new: &new }, &args.telling)
}

fn sources(args: &WhatIf) -> Result<(Vec<Source>, Vec<Source>), LoadError> {
    let cluster = cluster_ref(&args.input.cluster);
    let parse = |words: &[String]| words.iter().map(|word| Source::parse(word, &cluster)).collect::<Vec<_>>();
    let (base, more) = (parse(&args.base), parse(&args.input.files));
    let base = if base.is_empty() { vec![Source::Live(cluster)] } else { base };
    let bad = |message: &str, help: &str| LoadError(vec![Diagnostic::error(message).help(help)]);
    if more.is_empty() && args.delete.is_empty() {
        return Err(bad("nothing would change", "give objects with -f, or a policy with --delete"));
    }
    if base.iter().any(Source::is_stdin) && more.iter().any(Source::is_stdin) {
        return Err(bad("standard input can be read once only", "give a file to --base or to -f"));
    }
    refuse_unused_cluster(&args.input, &[&base, &more])?;
    Ok((base, more))
}

/// `NS/NAME`, `netpol/NAME` or `NAME`, or with both in front; `egressdomainpolicy/` names the other kind.
fn parse_policy(word: &str, default_namespace: &str) -> Result<Key, QueryError> {
    let kind_of = |text: &str| {
        let known = [
            (PolicyKind::NetworkPolicy, &["netpol", "netpols", "networkpolicy", "networkpolicies"][..]),
            (PolicyKind::EgressDomainPolicy, &["egressdomainpolicy", "egressdomainpolicies"][..]),
        ];
        let is = |words: &[&str]| words.iter().any(|kind| kind.eq_ignore_ascii_case(text));
        known.into_iter().find(|(_, words)| is(words)).map(|(kind, _)| kind)
    };
    let parts: Vec<&str> = word.split('/').collect();
    let (namespace, kind, name) = match parts.as_slice() {
        [name] => (default_namespace, Some(PolicyKind::NetworkPolicy), *name),
        [first, name] => match kind_of(first) {
            Some(kind) => (default_namespace, Some(kind), *name),
            None => (*first, Some(PolicyKind::NetworkPolicy), *name),
        },
        [namespace, kind, name] => (*namespace, kind_of(kind), *name),
        _ => ("", None, ""),
    };
    match kind {
        Some(kind) if !namespace.is_empty() && !name.is_empty() => Ok((namespace.into(), kind.name_of(name))),
        _ => {
            let error = QueryError::new(format!("--delete: `{word}` is no policy"));
            Err(error.help("write NS/NAME, or netpol/NAME or egressdomainpolicy/NAME with -n NS"))
        }
    }
}

fn delete(index: &mut ClusterIndex, word: &str, default_namespace: &str) -> Result<(), QueryError> {
    let (namespace, name) = parse_policy(word, default_namespace)?;
    if index.delete_policy(&namespace, &name).is_some() {
        return Ok(());
    }
    let mut error = QueryError::new(format!("--delete: no policy `{namespace}/{name}` is there"));
    let known: Vec<String> = index.policies().map(|p| format!("{}/{}", p.namespace, p.name)).collect();
    let wanted = format!("{namespace}/{name}");
    error.help = nearest(&wanted, known.iter().map(String::as_str)).map(|meant| format!("did you mean `{meant}`?"));
    Err(error)
}

/// Pods that are there stand for their workload (D4a), whatever its new template says.
fn say_if_without_effect(index: &ClusterIndex, object: &Object) {
    let Object::Workload(new) = object else { return };
    let Some(old) = index.workload(new.kind, &new.namespace, &new.name) else { return };
    let owner: (WorkloadKind, Box<str>) = (new.kind, new.name.clone());
    let has_pods = || index.pods().any(|p| p.namespace == new.namespace && index.top_owner(p).as_ref() == Some(&owner));
    if old.template != new.template && has_pods() {
        diagnostics::say(&format!(
            "note: {}/{}/{} is judged by the pods that it has, not by its new template",
            new.namespace,
            new.kind.short(),
            new.name
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_named_in_several_ways() {
        let parse = |word| parse_policy(word, "shop").map(|(namespace, name)| format!("{namespace}/{name}"));
        for (word, policy) in [
            ("db", "shop/db"),
            ("netpol/db", "shop/db"),
            ("NetworkPolicy/db", "shop/db"),
            ("payments/db", "payments/db"),
            ("payments/netpol/db", "payments/db"),
            ("egressdomainpolicy/db", "shop/egressdomainpolicy/db"),
            ("payments/EgressDomainPolicy/db", "payments/egressdomainpolicy/db"),
        ] {
            assert_eq!(parse(word), Ok(policy.to_owned()), "{word}");
        }
        for word in ["", "/", "a/", "/a", "a/deploy/b", "netpol/"] {
            assert!(parse(word).is_err(), "{word}");
        }
    }
}
