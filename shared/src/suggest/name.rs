//! Names for policies that nobody has yet.

use crate::cluster::ClusterIndex;

/// The longest name that Kubernetes takes for a policy.
const LONGEST: usize = 253;

/// `wish`, or with a number behind it, so that no policy of the namespace and none of `taken` has it.
pub fn free(index: &ClusterIndex, namespace: &str, wish: &str, taken: &[Box<str>]) -> String {
    let is_free = |name: &str| {
        index.policy(&(namespace.into(), name.into())).is_none() && !taken.iter().any(|other| other.as_ref() == name)
    };
    let wish: String = wish.chars().take(LONGEST - 6).collect();
    if is_free(&wish) {
        return wish;
    }
    let numbered = (2_u32..).map(|n| format!("{wish}-{n}"));
    numbered.into_iter().find(|name| is_free(name)).unwrap_or(wish)
}

/// A text as the name of an object may have it: label values have capitals and underscores as well.
pub fn as_name(text: &str) -> String {
    let plain = text.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-");
    plain.trim_matches(['-', '.']).to_owned()
}
