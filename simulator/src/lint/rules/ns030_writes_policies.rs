//! NS030: accounts that can change the policies that are to hold them.

use super::access::grant;
use super::page;
use super::words::objects;
use crate::lint::{Context, Found, Named, Rule, Severity};
use netsim_shared::cluster::Key;
use netsim_shared::compile::EndpointId;
use netsim_shared::object::{Path, RoleBinding, Subject};
use std::collections::HashMap;

pub const RULE: Rule = Rule {
    id: "NS030",
    name: "writes-policies",
    severity: Severity::Warning,
    summary: "a ServiceAccount, user or group that can write NetworkPolicies or EgressDomainPolicies",
    neighbours: &["Trivy KSV-0056"],
    page: page!("NS030"),
    check,
};

/// The account of a pod that names none.
const DEFAULT_ACCOUNT: &str = "default";
/// Where controllers of the cluster itself run.
const SYSTEM_NAMESPACE: &str = "kube-system";

/// Who has a right, in one form for all ways to write it.
enum Holder<'s> {
    /// A ServiceAccount: namespace and name.
    Account(&'s str, &'s str),
    /// Every ServiceAccount, of one namespace or of all.
    Accounts(Option<&'s str>),
    /// Everybody who comes.
    Anybody,
    /// A person, or a group of them.
    People,
}

fn check(context: &Context<'_>) -> Vec<Found> {
    let mut accounts = None;
    let mut found = Vec::new();
    let bindings = context.index.role_bindings().filter(|binding| !binding.name.starts_with("system:"));
    for binding in bindings {
        let Some(grant) = grant(context.index, binding) else { continue };
        for (index, subject) in binding.subjects.iter().enumerate() {
            let Some(holder) = holder(binding, subject) else { continue };
            let accounts = accounts.get_or_insert_with(|| pods_by_account(context));
            let wherever = match &binding.namespace {
                Some(namespace) => format!("in namespace {namespace}"),
                None => "in every namespace".to_owned(),
            };
            let kind = if binding.cluster_role { "ClusterRole" } else { "Role" };
            let who = name(subject, &holder);
            let mut message = format!("{who} may {} {wherever}, by {kind} {}", grant.what, binding.role);
            if let Some(pods) = runs(context, accounts, &holder) {
                message.push_str(&format!(": {pods} can open what policies close"));
            }
            let path = Path::default().key("subjects").index(index);
            let object =
                Named { kind: binding.kind().into(), namespace: binding.namespace.clone(), name: binding.name.clone() };
            let told = Found::new(object, &binding.origin, path, message).help(grant.help.clone());
            found.push(match &grant.rule {
                Some((what, place)) => told.related(what.clone(), place.clone()),
                None => told,
            });
        }
    }
    found
}

fn name(subject: &Subject, holder: &Holder<'_>) -> String {
    match holder {
        Holder::Account(namespace, name) => format!("ServiceAccount {namespace}/{name}"),
        _ => format!("{} {}", subject.kind, subject.name),
    }
}

/// Who a subject is; `None` for those that have to have the right.
fn holder<'s>(binding: &'s RoleBinding, subject: &'s Subject) -> Option<Holder<'s>> {
    let name = subject.name.as_ref();
    let holder = match subject.kind.as_ref() {
        "ServiceAccount" => Holder::Account(subject.namespace.as_deref().or(binding.namespace.as_deref())?, name),
        "User" => match name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':')) {
            Some((namespace, name)) => Holder::Account(namespace, name),
            None if name == "system:anonymous" => Holder::Anybody,
            None if name.starts_with("system:") => return None,
            None => Holder::People,
        },
        _ => match name {
            "system:authenticated" | "system:unauthenticated" => Holder::Anybody,
            "system:serviceaccounts" => Holder::Accounts(None),
            _ => match name.strip_prefix("system:serviceaccounts:") {
                Some(namespace) => Holder::Accounts(Some(namespace)),
                None if name.starts_with("system:") || name.starts_with("kubeadm:") => return None,
                None => Holder::People,
            },
        },
    };
    let system = matches!(holder, Holder::Account(SYSTEM_NAMESPACE, _));
    // Somebody has to administrate the cluster.
    let administrates = binding.namespace.is_none() && binding.cluster_role && binding.role.as_ref() == "cluster-admin";
    let due = system || (administrates && matches!(holder, Holder::People));
    (!due).then_some(holder)
}

/// The pods that run as each ServiceAccount.
fn pods_by_account(context: &Context<'_>) -> HashMap<Key, Vec<EndpointId>> {
    let mut accounts: HashMap<Key, Vec<EndpointId>> = HashMap::new();
    for (id, entry) in context.compiled.entries() {
        let account = context.pod_spec(&entry.endpoint).and_then(|spec| spec.service_account.clone());
        let name = account.unwrap_or_else(|| DEFAULT_ACCOUNT.into());
        accounts.entry((entry.endpoint.key.namespace.clone(), name)).or_default().push(id);
    }
    accounts
}

/// The pods that have the right, in words; `None` where the input has none.
fn runs(context: &Context<'_>, accounts: &HashMap<Key, Vec<EndpointId>>, holder: &Holder<'_>) -> Option<String> {
    match holder {
        Holder::Account(namespace, name) => {
            let ids = accounts.get(&((*namespace).into(), (*name).into()))?;
            let carriers = context.carriers(ids.iter().copied());
            let run = if carriers.len() == 1 { "runs" } else { "run" };
            Some(format!("{}, which {run} as it,", objects(carriers.iter().map(|(carrier, _)| &carrier.object))))
        }
        Holder::Accounts(Some(namespace)) => Some(format!("every pod of namespace {namespace}")),
        Holder::Accounts(None) | Holder::Anybody => Some("every pod".to_owned()),
        Holder::People => None,
    }
}
