//! One word for where objects come from: a path, a git revision, a live cluster.

use super::live::{ClusterRef, LIVE};
use std::path::Path;

/// Where objects come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file, a directory, a glob, or `-` for standard input.
    Path(String),
    /// A file or directory of a git revision.
    Revision(Revision),
    /// A live cluster.
    Live(ClusterRef),
}

/// `REVISION:PATH`, as git writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// A branch, a tag, a commit, or anything else that git knows for one.
    pub revision: String,
    /// The path in it: from the root of the repository, or with `./` from the current directory.
    pub path: String,
}

impl std::fmt::Display for Revision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.revision, self.path)
    }
}

impl Source {
    /// The path, if it is one.
    pub fn path(&self) -> Option<&str> {
        match self {
            Source::Path(path) => Some(path),
            Source::Revision(_) | Source::Live(_) => None,
        }
    }

    /// Whether it is standard input.
    pub fn is_stdin(&self) -> bool {
        self.path() == Some("-")
    }

    /// Whether it is a live cluster.
    pub fn is_live(&self) -> bool {
        matches!(self, Source::Live(_))
    }

    /// Reads a word. A path that exists wins over the other readings; so does a pattern, which no
    /// revision has. `cluster` is what `live` alone stands for.
    pub fn parse(word: &str, cluster: &ClusterRef) -> Source {
        let is_path = || word == "-" || Path::new(word).exists() || word.contains(['*', '?', '[']);
        if is_path() {
            return Source::Path(word.to_owned());
        }
        match word.split_once(':') {
            None if word == "live" => Source::Live(cluster.clone()),
            Some(("live", context)) if !context.is_empty() => {
                Source::Live(ClusterRef { context: Some(context.to_owned()), ..cluster.clone() })
            }
            Some((revision, path)) if !revision.is_empty() => {
                Source::Revision(Revision { revision: revision.to_owned(), path: path.to_owned() })
            }
            _ => Source::Path(word.to_owned()),
        }
    }
}

/// Whether the name of a source is that of a live list rather than of a file, which has lines that one can
/// look up.
pub fn is_live(name: &str) -> bool {
    name.strip_prefix(LIVE).is_some_and(|rest| rest.contains(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_paths_first() {
        let cluster = ClusterRef { kubeconfig: Some("k".into()), ..ClusterRef::default() };
        let parse = |word: &str| Source::parse(word, &cluster);
        let path = |word: &str| Source::Path(word.to_owned());
        let revision = |revision: &str, path: &str| {
            Source::Revision(Revision { revision: revision.to_owned(), path: path.to_owned() })
        };
        // The tests run in the crate's folder.
        for word in ["-", "src", "Cargo.toml", "k8s/*.yaml", "main:k8s/*.yaml", "gone", ":gone"] {
            assert_eq!(parse(word), path(word), "{word}");
        }
        assert_eq!(parse("main:k8s/"), revision("main", "k8s/"));
        assert_eq!(parse("HEAD~1:./a"), revision("HEAD~1", "./a"));
        assert_eq!(parse("HEAD:"), revision("HEAD", ""));
        assert_eq!(parse("live"), Source::Live(cluster.clone()));
        let context = "arn:aws:eks:eu-west-1:1:cluster/x";
        let live = Source::Live(ClusterRef { context: Some(context.to_owned()), ..cluster.clone() });
        assert_eq!(parse(&format!("live:{context}")), live);
    }
}
