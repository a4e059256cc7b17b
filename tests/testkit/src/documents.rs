//! The shell blocks of documents, for tests that run them.
//!
//! A comment before a block says what is different about it, in words that the test knows:
//!
//! ```text
//! <!-- test: exit 1, cluster -->
//! ```

/// A block of shell, and what it prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Document and line.
    pub place: String,
    /// What the comment before it says, split at its commas.
    pub markers: Vec<String>,
    /// Its lines. Those that end with a backslash are joined with the next one; comments are left
    /// out.
    pub lines: Vec<String>,
    /// The block of `text` that follows at once: what the lines print on standard output.
    pub output: Option<String>,
}

impl Block {
    /// Whether a marker stands before it.
    pub fn is_marked(&self, marker: &str) -> bool {
        self.markers.iter().any(|m| m == marker)
    }
}

/// The shell blocks of a document with the text that follows them.
pub fn blocks(document: &str, text: &str) -> Vec<Block> {
    let (mut found, mut marker, mut lines) = (Vec::<Block>::new(), None, text.lines().enumerate());
    // Whether nothing but blank lines came since the last shell block.
    let mut follows = false;
    while let Some((number, line)) = lines.next() {
        let trimmed = line.trim();
        if let Some(rest) = trimmed.strip_prefix("<!-- test:") {
            marker = Some(rest.trim_end_matches("-->").trim());
        } else if let Some(language) = trimmed.strip_prefix("```") {
            let body: Vec<&str> = lines.by_ref().map(|(_, l)| l).take_while(|l| l.trim() != "```").collect();
            match language {
                "sh" | "bash" | "shell" | "console" => {
                    let words = marker.take().into_iter().flat_map(|marker| marker.split(','));
                    found.push(Block {
                        place: format!("{document}:{}", number + 1),
                        markers: words.map(|word| word.trim().to_owned()).collect(),
                        lines: joined(&body),
                        output: None,
                    });
                    follows = true;
                    continue;
                }
                "text" if follows => {
                    if let Some(block) = found.last_mut() {
                        block.output = Some(body.iter().map(|l| format!("{l}\n")).collect());
                    }
                }
                _ => {}
            }
            follows = false;
        } else if !trimmed.is_empty() {
            follows = false;
            marker = None;
        }
    }
    found
}

/// An example in a document: a fenced block behind a comment that says what it is an example of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Document and line.
    pub place: String,
    /// What the comment says.
    pub says: String,
    /// Its text.
    pub text: String,
}

/// The blocks of a language that stand right behind a comment `<!-- KEY: WORDS -->`.
pub fn examples(document: &str, text: &str, language: &str, key: &str) -> Vec<Example> {
    let (mut found, mut says, mut lines) = (Vec::new(), None, text.lines().enumerate());
    let (fence, comment) = (format!("```{language}"), format!("<!-- {key}:"));
    while let Some((number, line)) = lines.next() {
        let trimmed = line.trim();
        if let Some(rest) = trimmed.strip_prefix(&comment) {
            says = Some(rest.trim_end_matches("-->").trim().to_owned());
        } else if trimmed.starts_with("```") {
            let body = lines.by_ref().map(|(_, l)| l).take_while(|l| l.trim() != "```");
            let text: String = body.map(|l| format!("{l}\n")).collect();
            if let (true, Some(says)) = (trimmed == fence, says.take()) {
                found.push(Example { place: format!("{document}:{}", number + 1), says, text });
            }
        } else if !trimmed.is_empty() {
            says = None;
        }
    }
    found
}

fn joined(lines: &[&str]) -> Vec<String> {
    let text = lines.join("\n").replace("\\\n", "");
    text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// The blocks of one language.
pub fn fenced(text: &str, language: &str) -> Vec<String> {
    fences(text).into_iter().filter(|fence| fence.language == language).map(|fence| fence.body).collect()
}

/// The files that a document has its reader write: blocks behind a comment with their name.
///
/// ```text
/// <!-- file: netsim.yaml -->
/// ```
pub fn files(text: &str) -> Vec<(String, String)> {
    fences(text).into_iter().filter_map(|fence| Some((fence.file?, fence.body))).collect()
}

struct Fence {
    language: String,
    file: Option<String>,
    body: String,
}

fn fences(text: &str) -> Vec<Fence> {
    let (mut found, mut file, mut lines) = (Vec::new(), None, text.lines());
    while let Some(line) = lines.next() {
        if let Some(language) = line.trim().strip_prefix("```") {
            let body: Vec<String> =
                lines.by_ref().take_while(|line| line.trim() != "```").map(|line| format!("{line}\n")).collect();
            found.push(Fence { language: language.to_owned(), file: file.take(), body: body.concat() });
        }
        let name = line.strip_prefix("<!-- file: ").and_then(|rest| rest.strip_suffix(" -->"));
        file = name.map(str::to_owned);
    }
    found
}
