//! Words that several rules use in messages.

use crate::lint::Named;

/// How many names a message has before it only counts.
const NAMED: usize = 3;

/// `a, b and c`, or `a, b, c and 4 more`.
pub fn some_of(names: &[String]) -> String {
    match names.get(..NAMED) {
        Some(shown) if names.len() > NAMED => format!("{} and {} more", shown.join(", "), names.len() - NAMED),
        _ => all_of(names),
    }
}

/// `1 pod`, `3 pods`
pub fn pods(count: usize) -> String {
    if count == 1 { "1 pod".to_owned() } else { format!("{count} pods") }
}

/// Objects by kind and name, for messages.
pub fn objects<'n>(objects: impl IntoIterator<Item = &'n Named>) -> String {
    some_of(&objects.into_iter().map(ToString::to_string).collect::<Vec<String>>())
}

/// `a, b and c`, however many.
pub fn all_of(names: &[String]) -> String {
    match names {
        [first @ .., last] if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        [one] => one.clone(),
        _ => String::new(),
    }
}
