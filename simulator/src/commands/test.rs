//! `netsim test`

use crate::Failure;
use crate::args::{InputArgs, Test as Args, TestFormat};
use crate::exit::Exit;
use crate::load::{LoadError, Loaded, files, load, names_cluster};
use crate::report::junit::{self, Case, Outcome, Problem};
use crate::report::tap::{self, At, Point};
use crate::report::{diagnostics, output, test_json, test_text};
use netsim_shared::assertion::{Checked, Checker, Status, Suite, Test, parse};
use netsim_shared::diagnostic::{Diagnostic, Place, nearest};
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

/// What came of a test.
pub struct Result<'r> {
    /// The test.
    pub test: &'r Test,
    /// What came of it.
    pub checked: &'r Checked,
}

/// What came of a file of tests.
pub struct Results<'r> {
    /// The file.
    pub suite: &'r Suite,
    /// The cluster that it is about.
    pub loaded: &'r Loaded,
    /// What came of its tests.
    pub results: Vec<Result<'r>>,
}

/// How many tests ended how.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// They hold.
    pub ok: usize,
    /// They do not.
    pub failed: usize,
    /// It cannot be told.
    pub unknown: usize,
}

impl Counts {
    /// Counts.
    pub fn of(results: &[Results<'_>]) -> Self {
        let mut counts = Counts::default();
        for result in results.iter().flat_map(|suite| &suite.results) {
            match result.checked.status {
                Status::Ok => counts.ok += 1,
                Status::Failed => counts.failed += 1,
                Status::Unknown => counts.unknown += 1,
            }
        }
        counts
    }

    /// All of them.
    pub fn all(&self) -> usize {
        self.ok + self.failed + self.unknown
    }

    fn exit(&self) -> Exit {
        match (self.failed, self.unknown) {
            (0, 0) => Exit::Ok,
            (0, _) => Exit::Unknown,
            _ => Exit::NotAllowed,
        }
    }
}

/// A cluster, and the paths that it was read from.
struct Input {
    paths: Vec<String>,
    loaded: Loaded,
}

/// Checks all tests. What is wrong with files of tests is reported for all of them before anything is checked.
pub fn run(args: &Args) -> std::result::Result<Exit, Failure> {
    let suites = suites(&args.tests)?;
    let filter = args.filter.as_deref().map(str::to_lowercase);
    let wanted = |test: &Test| filter.as_deref().is_none_or(|part| test.title.to_lowercase().contains(part));
    something_wanted(&suites, args.filter.as_deref(), &wanted)?;
    let inputs = inputs(&suites, &args.input)?;
    let (mut checked, mut wrong) = (Vec::new(), Vec::new());
    for (suite, input) in suites.iter().zip(&inputs.of_suite) {
        let Some(input) = inputs.all.get(*input) else { continue };
        let Loaded { index, compiled, .. } = &input.loaded;
        match Checker::new(index, compiled, &args.input.default_namespace).check(suite, wanted) {
            Ok(results) => checked.push((suite, &input.loaded, results)),
            Err(diagnostics) => wrong.extend(diagnostics),
        }
    }
    if !wrong.is_empty() {
        return Err(LoadError(wrong).into());
    }
    let results: Vec<Results<'_>> = checked.iter().map(|(suite, loaded, all)| of_suite(suite, loaded, all)).collect();
    print(args, &results)?;
    if results.iter().flat_map(|suite| &suite.results).any(|r| r.checked.assumed && r.checked.status == Status::Ok) {
        diagnostics::say(
            "note: some tests hold because pods without an address are assumed to lie in no partial ipBlock; \
             --pod-cidr decides it, --strict refuses to assume",
        );
    }
    Ok(Counts::of(&results).exit())
}

fn of_suite<'r>(suite: &'r Suite, loaded: &'r Loaded, all: &'r [Option<Checked>]) -> Results<'r> {
    let results = suite.tests.iter().zip(all);
    let results = results.filter_map(|(test, checked)| Some(Result { test, checked: checked.as_ref()? })).collect();
    Results { suite, loaded, results }
}

/// Reads the files of tests.
pub fn suites(paths: &[String]) -> std::result::Result<Vec<Suite>, LoadError> {
    let (mut suites, mut wrong) = (Vec::new(), Vec::new());
    for path in files::tests(paths)? {
        match files::text(&path) {
            Ok(text) => match parse(&path.display().to_string(), &text) {
                Ok(suite) => suites.push(suite),
                Err(diagnostics) => wrong.extend(diagnostics),
            },
            Err(diagnostic) => wrong.push(diagnostic),
        }
    }
    if wrong.is_empty() { Ok(suites) } else { Err(LoadError(wrong)) }
}

/// A filter that leaves nothing is a slip: nothing would be checked, and nobody would see it.
fn something_wanted(
    suites: &[Suite],
    filter: Option<&str>,
    wanted: &dyn Fn(&Test) -> bool,
) -> std::result::Result<(), LoadError> {
    let tests = || suites.iter().flat_map(|suite| &suite.tests);
    let Some(filter) = filter else { return Ok(()) };
    if tests().any(wanted) {
        return Ok(());
    }
    let mut error = Diagnostic::error(format!("no test has `{filter}` in its name"));
    let titles = || tests().map(|test| test.title.as_str());
    let like = nearest(filter, titles()).or_else(|| titles().next());
    error.help = like.map(|title| format!("it is looked for in names such as `{title}`"));
    Err(LoadError(vec![error]))
}

/// The clusters that suites are about, each read once.
struct Inputs {
    all: Vec<Input>,
    of_suite: Vec<usize>,
}

/// Reads what the command line names or else what each suite does.
fn inputs(suites: &[Suite], args: &InputArgs) -> std::result::Result<Inputs, LoadError> {
    let given = !args.files.is_empty() || names_cluster(&args.cluster);
    let (mut inputs, mut wrong) = (Inputs { all: Vec::new(), of_suite: Vec::new() }, Vec::new());
    for suite in suites {
        let paths = if given { args.files.clone() } else { beside(suite) };
        if !given {
            // Each path that names nothing is told at its own place.
            let looked = paths.iter().zip(&suite.input).map(|(path, (_, place))| (files::look(path), place));
            let missing = looked.filter_map(|(found, place)| found.err().map(|error| at(error, Some(place))));
            let before = wrong.len();
            wrong.extend(missing);
            if wrong.len() > before {
                continue;
            }
        }
        if let Some(known) = inputs.all.iter().position(|input| input.paths == paths) {
            inputs.of_suite.push(known);
            continue;
        }
        match load(&InputArgs { files: paths.clone(), ..args.clone() }, &mut diagnostics::print) {
            Ok(loaded) => {
                inputs.of_suite.push(inputs.all.len());
                inputs.all.push(Input { paths, loaded });
            }
            Err(LoadError(diagnostics)) => {
                let place = suite.input.first().map(|(_, place)| place).filter(|_| !given);
                wrong.extend(diagnostics.into_iter().map(|diagnostic| at(diagnostic, place)));
                if given {
                    break;
                }
            }
        }
    }
    if wrong.is_empty() { Ok(inputs) } else { Err(LoadError(wrong)) }
}

/// What has no place of its own is the fault of the line that names the input.
fn at(mut diagnostic: Diagnostic, place: Option<&Place>) -> Diagnostic {
    if diagnostic.place.is_none() {
        diagnostic.place = place.cloned();
    }
    diagnostic
}

/// The paths of `input`, which are relative to the file of tests.
fn beside(suite: &Suite) -> Vec<String> {
    let folder = Path::new(&*suite.source).parent().unwrap_or(Path::new(""));
    let path = |(path, _): &(String, Place)| {
        let joined = tidy(&folder.join(path));
        // `.` beside a file without a folder is where we are.
        if joined.as_os_str().is_empty() { ".".to_owned() } else { joined.display().to_string() }
    };
    suite.input.iter().map(path).collect()
}

/// A path without `.`, and without `..` where it leads back out of a folder. It may not out of a link.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        let back = component == Component::ParentDir
            && matches!(out.components().next_back(), Some(Component::Normal(_)))
            && !out.is_symlink();
        if back {
            out.pop();
        } else if component != Component::CurDir {
            out.push(component);
        }
    }
    out
}

/// In the form that is wanted; where that goes to a file, the text is printed besides.
fn print(args: &Args, results: &[Results<'_>]) -> io::Result<()> {
    output::to(&args.out, |out| write(out, args.output, results))?;
    if output::is_file(&args.out) {
        output::to(Path::new(output::STDOUT), |out| test_text::write(out, results))?;
    }
    Ok(())
}

fn write(out: &mut dyn Write, format: TestFormat, results: &[Results<'_>]) -> io::Result<()> {
    match format {
        TestFormat::Text => test_text::write(out, results),
        TestFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, &test_json::of(results)).map_err(io::Error::from)?;
            writeln!(out)
        }
        TestFormat::Junit => {
            let suites: io::Result<Vec<junit::Suite>> = results.iter().map(junit_suite).collect();
            junit::write(out, "netsim test", &suites?)
        }
        TestFormat::Tap => {
            let all = results.iter().flat_map(|suite| suite.results.iter().map(move |result| (suite, result)));
            let points: io::Result<Vec<Point>> = all.map(|(suite, result)| tap_point(suite, result)).collect();
            tap::write(out, &points?)
        }
    }
}

fn junit_suite(suite: &Results<'_>) -> io::Result<junit::Suite> {
    let file = suite.suite.source.to_string();
    let mut cases = Vec::new();
    for result in &suite.results {
        let problem = || -> io::Result<Problem> {
            let text = test_text::plain_details(suite, result)?;
            let kind = format!("{} assertion", result.test.assertion.key());
            Ok(Problem { kind, message: test_text::headline(result), text })
        };
        let outcome = match result.checked.status {
            Status::Ok => Outcome::Passed,
            Status::Failed => Outcome::Failed(problem()?),
            Status::Unknown => Outcome::Error(problem()?),
        };
        let (name, line) = (result.test.title.clone(), result.test.place.line);
        cases.push(Case { name, class: file.clone(), file: file.clone(), line, outcome });
    }
    Ok(junit::Suite { name: file, cases })
}

fn tap_point(suite: &Results<'_>, result: &Result<'_>) -> io::Result<Point> {
    let ok = result.checked.status == Status::Ok;
    let diagnostic = if ok {
        None
    } else {
        let place = &result.test.place;
        Some(tap::Diagnostic {
            message: test_text::headline(result),
            severity: if result.checked.status == Status::Failed { "fail" } else { "unknown" },
            at: At { file: place.source.to_string(), line: place.line },
            details: test_text::plain_details(suite, result)?,
        })
    };
    Ok(Point { title: result.test.title.clone(), ok, diagnostic })
}
