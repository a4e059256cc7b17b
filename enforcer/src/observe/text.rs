//! Texts within the bounds that others have for them.

/// A text, or the beginning of it with something that depends on all of it.
pub fn within(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}-{:016x}", beginning(text, most - 17), hash([text]))
}

/// As much of its beginning as has room in so many bytes.
pub fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A text, or the beginning of it with an ellipsis.
pub fn shortened(text: &str, most: usize) -> String {
    if text.len() <= most { text.to_owned() } else { format!("{}…", beginning(text, most - '…'.len_utf8())) }
}

/// A text that somebody else wrote, as it goes into a log: a line cannot be made to look like several, or to steer a
/// terminal, or to fill a disk.
pub fn tame(text: &str, most: usize) -> String {
    let text = shortened(text, most);
    let hidden = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let shown = |out: String, c: char| {
        if hidden(c) { out + &c.escape_default().to_string() } else { out + c.encode_utf8(&mut [0; 4]) }
    };
    text.chars().fold(String::new(), shown)
}

/// FNV-1a: the same on all nodes and in all versions.
pub fn hash<'t>(texts: impl IntoIterator<Item = &'t str>) -> u64 {
    let bytes = texts.into_iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_into_a_log_is_one_line() {
        assert_eq!(tame("a\nb\u{1b}[2Jé\u{202e}", 500), "a\\nb\\u{1b}[2Jé\\u{202e}");
        assert_eq!(tame(&"x".repeat(100), 10), "xxxxxxx…");
    }

    #[test]
    fn texts_stay_within_their_bounds_and_apart() {
        let long = |last: char| format!("{}{last}", "n".repeat(250));
        let (a, b) = (within(&long('a'), 128), within(&long('b'), 128));
        assert!(a.len() == 128 && b.len() == 128 && a != b, "{a} {b}");
        let text = shortened(&"ü".repeat(400), 500);
        assert!(text.len() <= 500 && text.ends_with("ü…"), "{text}");
        assert_eq!(shortened("short", 500), "short");
    }
}
