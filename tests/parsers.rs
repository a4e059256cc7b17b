//! The bodies of the fuzz targets, bounded: every fixture and example, and mutations of them that are
//! the same in each run. `tests/fuzz` runs the same without bounds.

#[path = "fuzz/src/lib.rs"]
mod bodies;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Mutations stop here even if not all were tried: a slow machine is not a failure.
const LONGEST: Duration = Duration::from_secs(20);

/// Texts that are put into others: what parsers stumble over.
const SCRAPS: &[&str] = &[
    "---\n",
    "...\n",
    "--- x",
    "\t",
    "\r\n",
    "\u{feff}",
    "\0",
    "é",
    "\u{2028}",
    "𝕏",
    ": ",
    "- ",
    "? ",
    "#",
    "{",
    "}",
    "[",
    "]",
    "{}",
    "[]",
    "\"",
    "'",
    "|\n",
    ">-\n",
    "&a ",
    "*a",
    "<<: *a",
    "!!binary ",
    "!",
    "%YAML 1.2\n",
    "@",
    "`",
    "~",
    "null",
    "true",
    ".inf",
    ".nan",
    "0x10",
    "0o7",
    "1e3",
    "-1",
    "0",
    "65535",
    "65536",
    "99999999999999999999",
    "endPort",
    "ipBlock",
    "cidr: 10.0.0.0/33",
    "010.0.0.0/8",
    "::/0",
    "::ffff:1.2.3.4/128",
    "0.0.0.0/0",
    "matchLabels",
    "matchExpressions",
    "values: [",
    "NotIn",
    "policyTypes",
    "kind: List\nitems:\n",
    "\"kind\":\"List\",",
    "items",
    "kind: Pod",
    "namespaceSelector: {}",
    "podSelector: null",
    "status: {podIP: x}",
    "{{ .Values.x }}",
    "\\u0000",
    "\\ud800",
    "\\",
    "in (",
    "notin (",
    "!=",
    "==",
    ",",
    ")",
    "svc/",
    "*/*",
    "[::1]:80",
    ":http/udp",
    "/",
    ".",
    "*.",
];

/// Words and selectors to start from.
const WORDS: &[&str] = &[
    "a=b,c!=d,e in (f,g),h notin (i),j,!k",
    "app in (web)",
    "a==b",
    "!a",
    "shop/web",
    "shop/deploy/web:80",
    "web.shop.svc.cluster.local:http/tcp",
    "svc/web:http",
    "[2001:db8::1]:443/udp",
    "2001:db8::/32",
    "10.0.0.0/8:53/udp",
    "010.000.0.5/24",
    "::ffff:1.2.3.4/120",
    "example.com:443 *.example.com",
    "shop/* */*",
];

/// xorshift64*: the same numbers in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).expect("a small number") % limit.max(1)
    }

    fn pick<'l, T: ?Sized>(&mut self, list: &'l [&'l T]) -> &'l T {
        list[self.below(list.len())]
    }

    /// A mutation of one of the corpus: one or more changes of bytes, lines and scraps.
    fn mutation(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(12)).min(bytes.len());
            match self.below(9) {
                0 => _ = bytes.drain(at..end),
                1 => bytes.truncate(at),
                2 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                3 => bytes.insert(at, u8::try_from(self.below(256)).expect("a byte")),
                4 => {
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() + 1);
                    bytes.splice(to..to, piece);
                }
                5 => {
                    // Lines change places: lists and maps meet where they should not.
                    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
                    let (a, b) = (self.below(lines.len()), self.below(lines.len()));
                    if a < lines.len() && b < lines.len() {
                        lines.swap(a, b);
                    }
                    bytes = lines.concat();
                }
                6 => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(200)).min(other.len());
                    bytes.splice(at..end, other[from..to].iter().copied());
                }
                _ => _ = bytes.splice(at..end, self.pick(SCRAPS).bytes()).count(),
            }
        }
        bytes
    }
}

fn files_under(folder: &Path, out: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("a readable entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            files_under(&path, out);
        } else if path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json") {
            out.push(path);
        }
    }
}

fn manifests() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    files_under(&root.join("tests/fixtures"), &mut files);
    files_under(&root.join("examples"), &mut files);
    assert!(files.len() > 100, "only {} files were found", files.len());
    files.iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

/// Runs a body on the corpus and on mutations of it; an input that panics is shown as it is.
fn run(body: fn(&[u8]), corpus: &[Vec<u8>], mutations: usize) {
    let start = Instant::now();
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let all = corpus.iter().cloned().map(Some).chain((0..mutations).map(|_| None));
    let (mut count, mut longest) = (0, Duration::ZERO);
    for input in all {
        let input = input.unwrap_or_else(|| numbers.mutation(corpus));
        let begun = Instant::now();
        if catch_unwind(AssertUnwindSafe(|| body(&input))).is_err() {
            panic!("input {count} panics:\n{}\nas bytes: {input:?}", String::from_utf8_lossy(&input));
        }
        longest = longest.max(begun.elapsed());
        assert!(
            longest < Duration::from_secs(5),
            "input {count} takes {longest:?}:\n{}",
            String::from_utf8_lossy(&input)
        );
        count += 1;
        if start.elapsed() > LONGEST {
            break;
        }
    }
    println!("{count} inputs in {:?}, the longest took {longest:?}", start.elapsed());
}

#[test]
fn no_manifest_breaks_ingest() {
    // Small files first and foremost: a mutation in a large one is a needle in a haystack.
    let corpus: Vec<Vec<u8>> = manifests().into_iter().filter(|bytes| bytes.len() < 4000).collect();
    run(bodies::ingest_anything, &corpus, 20_000);
}

#[test]
fn large_manifests_are_read_as_they_are() {
    manifests().iter().filter(|bytes| bytes.len() >= 4000).for_each(|bytes| bodies::ingest_anything(bytes));
}

#[test]
fn no_word_breaks_the_readers_of_words() {
    let corpus: Vec<Vec<u8>> = WORDS.iter().chain(SCRAPS).map(|word| word.as_bytes().to_vec()).collect();
    run(bodies::read_words, &corpus, 60_000);
}

/// Depth, breadth and size that people do not write, but that must neither panic nor take long.
#[test]
fn extreme_shapes_end_in_time() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(20_000), close.repeat(20_000));
    let aliases = (1..10).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        let below = format!("*a{}, ", n - 1).repeat(9);
        text + &format!("a{n}: &a{n} [{below}]\n")
    });
    let inputs = [
        ("nested lists", deep("[", "]")),
        ("nested maps", deep("{a: ", "}")),
        ("nested JSON", deep("{\"a\":", "}")),
        ("nested JSON lists", format!("{{\"kind\":\"List\",\"items\":{}}}", deep("[", "]"))),
        ("nested dashes", "- ".repeat(20_000)),
        ("nested anchors", aliases),
        ("many documents", "---\n".repeat(20_000)),
        ("one long line", format!("kind: Pod\nmetadata: {{name: \"{}\"", "é".repeat(200_000))),
        ("one long key", format!("{}: 1\nkind: Pod", "k".repeat(200_000))),
        ("unclosed quote", format!("kind: \"{}", "a\n".repeat(50_000))),
    ];
    for (name, text) in inputs {
        let start = Instant::now();
        bodies::ingest_anything(text.as_bytes());
        bodies::read_words(text.as_bytes());
        assert!(start.elapsed() < Duration::from_secs(10), "{name} takes {:?}", start.elapsed());
    }
}
