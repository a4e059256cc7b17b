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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_counted() {
        let names: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
        let some = |count: usize| some_of(names.get(..count).unwrap());
        assert_eq!(
            [some(0), some(1), some(2), some(3), some(4)],
            ["", "a", "a and b", "a, b and c", "a, b, c and 1 more"]
        );
        assert_eq!(all_of(&names), "a, b, c and d");
    }
}
