//! Connectivity tests: what a cluster's policies must allow and must not, written down in YAML.
//!
//! ```text
//! text ── parse ──▶ Suite ── resolve (words become parties) ── check ──▶ Checked (a status and its findings)
//! ```
//!
//! `allowed` and `denied` are questions with the answer that is expected. `onlyFrom`, `onlyTo` and `isolated` speak
//! of everybody else; they are asked of classes ([`reach`]), not of pods one by one. They count what the policies
//! allow: what is allowed whatever the policies say (a pod and itself, A6; a pod and its own node, D2) breaks none.

mod check;
mod isolation;
mod parse;
pub mod reach;
mod resolve;

pub use check::{Checked, Checker, Finding, Status};
pub use parse::{
    ASSERTIONS, ENDS_KEYS, EXCEPT_KEYS, ISOLATED_KEYS, ONLY_KEYS, PODS_KEYS, SUITE_KEYS, TEST_KEYS, parse,
};

use crate::diagnostic::Place;
use crate::ports::Protocol;
use crate::query::target::{AskedPort, Target};
use crate::selector::Selector;
use std::fmt;
use std::sync::Arc;

/// The `apiVersion` of test files.
pub const API_VERSION: &str = "netsim.dev/v1alpha1";
/// The `kind` of test files.
pub const KIND: &str = "ConnectivityTest";

/// A file of tests.
#[derive(Debug, Clone)]
pub struct Suite {
    /// Its name in messages.
    pub source: Arc<str>,
    /// The manifests that it is about, relative to it; none: the command line says.
    pub input: Vec<(String, Place)>,
    /// The namespace of words that name none.
    pub namespace: Option<String>,
    /// The tests, in the order of the file.
    pub tests: Vec<Test>,
}

/// A test.
#[derive(Debug, Clone)]
pub struct Test {
    /// What it is called; without a name, what it asserts.
    pub title: String,
    /// Why it has to hold.
    pub because: Option<String>,
    /// What it asserts.
    pub assertion: Assertion,
    /// Where it stands.
    pub place: Place,
}

/// What a test asserts.
#[derive(Debug, Clone)]
pub enum Assertion {
    /// All of these reach all of those.
    Allowed(Ends),
    /// None of these reaches any of those.
    Denied(Ends),
    /// These reach those, and nothing else does.
    OnlyFrom(Only),
    /// These reach those, and nothing else.
    OnlyTo(Only),
    /// What differs in a label cannot reach each other.
    Isolated(Isolated),
}

impl Assertion {
    /// The key that it is written under.
    pub fn key(&self) -> &'static str {
        match self {
            Assertion::Allowed(_) => "allowed",
            Assertion::Denied(_) => "denied",
            Assertion::OnlyFrom(_) => "onlyFrom",
            Assertion::OnlyTo(_) => "onlyTo",
            Assertion::Isolated(_) => "isolated",
        }
    }
}

impl fmt::Display for Assertion {
    /// A sentence, for tests without a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Assertion::Allowed(ends) => write!(f, "{} may reach {}", all(&ends.from), all(&ends.to)),
            Assertion::Denied(ends) => write!(f, "{} may not reach {}", all(&ends.from), all(&ends.to)),
            Assertion::OnlyFrom(only) => write!(f, "only {} may reach {}", all(&only.ends.from), all(&only.ends.to)),
            Assertion::OnlyTo(only) => write!(f, "{} may reach only {}", all(&only.ends.from), all(&only.ends.to)),
            Assertion::Isolated(isolated) => write!(f, "isolated by {}", isolated.by),
        }
    }
}

fn all(who: &[Who]) -> String {
    who.iter().map(|who| who.shown.as_str()).collect::<Vec<_>>().join(", ")
}

/// Both ends of connections: every one of `from` with every one of `to`.
#[derive(Debug, Clone)]
pub struct Ends {
    /// Who connects.
    pub from: Vec<Who>,
    /// To whom.
    pub to: Vec<Who>,
}

/// The ends of an exclusive assertion.
#[derive(Debug, Clone)]
pub struct Only {
    /// Who may.
    pub ends: Ends,
    /// Whether addresses outside the cluster count.
    pub outside: bool,
}

/// What is kept apart, and how.
#[derive(Debug, Clone)]
pub struct Isolated {
    /// What tells them apart.
    pub by: Label,
    /// What may pass nevertheless.
    pub except: Vec<Except>,
    /// Where `by` stands.
    pub place: Place,
}

/// A label that tells pods apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Label {
    /// One of their namespace.
    OfNamespace(String),
    /// One of their own.
    OfPod(String),
}

impl Label {
    /// Its key.
    pub fn key(&self) -> &str {
        match self {
            Label::OfNamespace(key) | Label::OfPod(key) => key,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Label::OfNamespace(key) => f.write_str(key),
            Label::OfPod(key) => write!(f, "the pod label {key}"),
        }
    }
}

/// Connections that an isolation lets pass; an end that is missing is everybody.
#[derive(Debug, Clone)]
pub struct Except {
    /// Who connects.
    pub from: Option<Vec<Who>>,
    /// To whom.
    pub to: Option<Vec<Who>>,
}

/// Somebody who is named.
#[derive(Debug, Clone)]
pub struct Who {
    /// What to call it, as it was written.
    pub shown: String,
    /// How it is found.
    pub form: Form,
    /// On which port; `None`: on every one.
    pub port: Option<AskedPort>,
    /// On which protocol.
    pub protocol: Option<Protocol>,
    /// Where it is written.
    pub place: Place,
}

/// How somebody is found.
#[derive(Debug, Clone)]
pub enum Form {
    /// By a word, as `can-reach` has it.
    Word(Target),
    /// By labels.
    Pods {
        /// The namespace.
        namespace: Option<String>,
        /// The labels of the namespaces.
        namespaces: Option<Selector>,
        /// The labels of the pods.
        pods: Selector,
    },
}
