//! A shell as an operator has it: `kubectl` of the machine for the cluster of the test. What
//! `kubectl` asks a kubelet for, `exec` and `logs`, is done by this program in its place.

use crate::container::EXEC;
use crate::server::{SYSTEM, Server};
use netsim_testkit::command::root;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::sync::Arc;

/// The first argument of this program in the place of `kubectl`.
pub const KUBECTL: &str = "--as-kubectl";

const FOLDER: &str = "NETSIM_E2E_FOLDER";
const REAL: &str = "NETSIM_E2E_KUBECTL";

/// A shell.
pub struct Shell {
    folder: PathBuf,
    path: OsString,
    kubectl: PathBuf,
    server: Arc<Server>,
}

/// What a shell printed.
#[derive(Debug)]
pub struct Printed {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Shell {
    /// A shell with `kubectl` and `netsim`, and `helm` where the repository or the machine has it.
    pub fn new(server: &Arc<Server>, folder: &Path) -> Self {
        let own = folder.join("bin");
        fs::create_dir_all(&own).expect("a folder");
        let kubectl = own.join("kubectl");
        let this = std::env::current_exe().expect("this program");
        fs::write(&kubectl, format!("#!/bin/sh\nexec '{}' {KUBECTL} \"$@\"\n", this.display())).expect("a file");
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).expect("a program");
        let old = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = vec![own, programs().to_owned(), root().join("target/tools")];
        let real = std::env::split_paths(&old).map(|folder| folder.join("kubectl")).find(|path| path.exists());
        folders.extend(std::env::split_paths(&old));
        Shell {
            folder: folder.to_owned(),
            path: std::env::join_paths(folders).expect("paths"),
            kubectl: real.expect("the program `kubectl`"),
            server: Arc::clone(server),
        }
    }

    /// Runs lines in the root of the repository, and stops at the first that fails.
    pub fn run(&self, lines: &str) -> Printed {
        let output = Command::new("timeout")
            // What waits for a kubelet that has ended waits for ever.
            .args(["300", "bash", "-euo", "pipefail", "-c", lines])
            .current_dir(root())
            .env("PATH", &self.path)
            .env("KUBECONFIG", &self.server.kubeconfig)
            .env("HOME", &self.folder)
            .env(FOLDER, &self.folder)
            .env(REAL, &self.kubectl)
            .output()
            .expect("bash");
        Printed {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs lines that have to work, and gives what they print.
    pub fn does(&self, lines: &str) -> String {
        let printed = self.run(lines);
        assert_eq!(printed.code, 0, "{lines}\n{}{}", printed.out, printed.err);
        printed.out
    }
}

/// Where the programs of the repository are.
pub fn programs() -> &'static Path {
    let program = Path::new(env!("CARGO_BIN_EXE_netsim-enforcer"));
    program.parent().expect("a folder")
}

/// What is asked of `kubectl`.
#[derive(Debug, Default)]
struct Asked {
    verb: String,
    namespace: Option<String>,
    container: Option<String>,
    selector: Option<String>,
    pods: Vec<String>,
    command: Vec<String>,
}

fn read(words: &[String]) -> Asked {
    let mut asked = Asked::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = |name: &str, short: &str| {
            if let Some(value) = word.strip_prefix(&format!("--{name}=")) {
                return Some(value.to_owned());
            }
            (*word == format!("--{name}") || *word == format!("-{short}")).then(|| words.next().cloned()).flatten()
        };
        if word == "--" {
            asked.command = words.cloned().collect();
            break;
        } else if let Some(namespace) = value("namespace", "n") {
            asked.namespace = Some(namespace);
        } else if let Some(container) = value("container", "c") {
            asked.container = Some(container);
        } else if let Some(selector) = value("selector", "l") {
            asked.selector = Some(selector);
        } else if value("tail", "tail").is_some() || word.starts_with('-') {
        } else if asked.verb.is_empty() {
            asked.verb.clone_from(word);
        } else {
            asked.pods.push(word.clone());
        }
    }
    asked
}

/// `kubectl`.
pub fn kubectl(words: &[String]) -> ! {
    let real = std::env::var_os(REAL).expect("to be run by the tests");
    let asked = read(words);
    if !["exec", "logs", "port-forward", "attach", "cp"].contains(&asked.verb.as_str()) {
        let error = Command::new(&real).args(words).exec();
        panic!("{error}");
    }
    assert_eq!(asked.namespace.as_deref(), Some(SYSTEM), "the tests have no containers elsewhere");
    let folder = PathBuf::from(std::env::var_os(FOLDER).expect("to be run by the tests"));
    let pods = pods(&real, &asked);
    match asked.verb.as_str() {
        "exec" => {
            let container = asked.container.unwrap_or_else(|| "enforcer".to_owned());
            let file = folder.join("containers").join(format!("{SYSTEM}.{}.{container}.pid", pods[0]));
            let pid = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            let this = std::env::current_exe().expect("this program");
            let error = Command::new(this).arg(EXEC).arg(pid).args(asked.command).exec();
            panic!("{error}");
        }
        "logs" => {
            for pod in pods {
                let front = format!("{SYSTEM}.{pod}.{}", asked.container.as_deref().unwrap_or_default());
                for entry in fs::read_dir(folder.join("logs")).expect("the logs").flatten() {
                    if entry.file_name().to_string_lossy().starts_with(&front) {
                        print!("{}", fs::read_to_string(entry.path()).expect("a log"));
                    }
                }
            }
            exit(0)
        }
        other => panic!("the tests do not know `kubectl {other}`"),
    }
}

/// The names of the pods that are meant: one by its name, one of a DaemonSet, or all with a label.
fn pods(real: &OsString, asked: &Asked) -> Vec<String> {
    let names = |selector: &str| -> Vec<String> {
        let shown = Command::new(real).args(["-n", SYSTEM, "get", "pods", "-o", "name", "-l", selector]).output();
        let shown = String::from_utf8(shown.expect("kubectl").stdout).expect("text");
        shown.lines().filter_map(|line| line.strip_prefix("pod/")).map(str::to_owned).collect()
    };
    if let Some(selector) = &asked.selector {
        return names(selector);
    }
    let name = asked.pods.first().expect("a pod");
    match name.split_once('/') {
        Some(("ds" | "daemonset" | "daemonsets", set)) => {
            let mut all = names(&format!("app.kubernetes.io/name={set}"));
            assert!(!all.is_empty(), "the DaemonSet `{set}` has no pod");
            all.truncate(1);
            all
        }
        Some((_, name)) => vec![name.to_owned()],
        None => vec![name.clone()],
    }
}
