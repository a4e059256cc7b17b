//! What `deploy/ci/` and `.pre-commit-hooks.yaml` offer to other repositories is sound, and its commands run.

use crate::run::{Answer, PROGRAM, Scratch, copy, quiet, repository, root, run, text_of};
use netsim_testkit::documents::fenced;
use netsim_testkit::yaml::json;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

const ACTION: &str = "deploy/ci/github/action.yml";
const WORKFLOW: &str = "deploy/ci/github/workflow.yml";
const GITLAB: &str = "deploy/ci/gitlab.yml";
const HOOKS: &str = ".pre-commit-hooks.yaml";
/// Where the example cluster has its assertions, seen from the folder that scripts run in.
const ASSERTIONS: &str = "k8s/connectivity.netsim.yaml";

/// A script of one of the files.
struct Script {
    place: String,
    text: String,
    variables: BTreeMap<String, String>,
}

impl Script {
    /// Its lines that begin with `netsim`.
    fn calls(&self) -> impl Iterator<Item = &str> {
        self.text.lines().map(str::trim).filter(|line| line.starts_with("netsim "))
    }
}

fn object<'v>(value: &'v Value, what: &str) -> &'v Map<String, Value> {
    value.as_object().unwrap_or_else(|| panic!("{what} is no map: {value}"))
}

fn text<'v>(value: &'v Value, what: &str) -> &'v str {
    value.as_str().unwrap_or_else(|| panic!("{what} is no text: {value}"))
}

#[track_caller]
fn only(map: &Map<String, Value>, allowed: &[&str], what: &str) {
    let strangers: Vec<&String> = map.keys().filter(|key| !allowed.contains(&key.as_str())).collect();
    assert!(strangers.is_empty(), "{what} has the unknown keys {strangers:?}");
}

fn steps_of_action() -> Vec<Value> {
    json(&text_of(ACTION))["runs"]["steps"].as_array().unwrap().clone()
}

fn steps_of_workflow() -> Vec<Value> {
    let workflow = json(&text_of(WORKFLOW));
    let jobs = object(&workflow["jobs"], "jobs");
    jobs.values().flat_map(|job| job["steps"].as_array().unwrap().clone()).collect()
}

/// What stands in `${{ … }}`.
fn expressions(text: &str) -> Vec<String> {
    text.split("${{").skip(1).map(|rest| rest.split("}}").next().unwrap().trim().to_owned()).collect()
}

/// The names behind a prefix such as `inputs.` in expressions, and in conditions, which are some as they are.
fn names(step: &Value, prefix: &str) -> BTreeSet<String> {
    let mut all = expressions(&step.to_string());
    all.extend(step["if"].as_str().map(str::to_owned));
    let name =
        |rest: &str| rest.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).next().unwrap().to_owned();
    all.iter().flat_map(|text| text.split(prefix).skip(1).map(name).collect::<Vec<_>>()).collect()
}

/// The scripts of steps, with their variables as they would be filled in.
fn scripts_of_steps(file: &str, steps: &[Value]) -> Vec<Script> {
    let fill = |value: &Value| match expressions(text(value, "a variable")).as_slice() {
        [] => value.as_str().unwrap().to_owned(),
        [one] => match one.as_str() {
            "inputs.paths" => "k8s\n".to_owned(),
            "inputs.tests" => ASSERTIONS.to_owned(),
            "inputs.fail-on" => "error".to_owned(),
            "github.base_ref" => "main".to_owned(),
            _ => "7".to_owned(),
        },
        several => panic!("{file}: {several:?}"),
    };
    let with_run = steps.iter().filter(|step| step.get("run").is_some());
    with_run
        .map(|step| Script {
            place: format!("{file}: {}", text(&step["name"], "the name of a step")),
            text: text(&step["run"], "run").to_owned(),
            variables: step["env"]
                .as_object()
                .map_or(BTreeMap::new(), |env| env.iter().map(|(name, value)| (name.clone(), fill(value))).collect()),
        })
        .collect()
}

/// The jobs of GitLab, with what they extend.
fn jobs_of_gitlab() -> BTreeMap<String, Map<String, Value>> {
    let file = json(&text_of(GITLAB));
    let all = object(&file, GITLAB);
    let named = all.iter().filter(|(name, _)| !name.starts_with('.'));
    named
        .map(|(name, job)| {
            let mut merged = match job.get("extends") {
                Some(base) => {
                    let base = text(base, "extends");
                    object(all.get(base).unwrap_or_else(|| panic!("{name} extends {base}, which is not there")), base)
                        .clone()
                }
                None => Map::new(),
            };
            merged.extend(object(job, name).clone());
            (name.clone(), merged)
        })
        .collect()
}

fn lines(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|line| text(line, "a line of a script").to_owned()).collect()
}

fn scripts_of_gitlab() -> Vec<Script> {
    let script = |(name, job): (String, Map<String, Value>)| {
        let mut variables: BTreeMap<String, String> = object(&job["variables"], "variables")
            .iter()
            .map(|(name, value)| (name.clone(), text(value, name).to_owned()))
            .collect();
        variables.insert("NETSIM_TESTS".to_owned(), ASSERTIONS.to_owned());
        variables.insert("NETSIM_GITLAB_TOKEN".to_owned(), "token".to_owned());
        for name in ["CI_API_V4_URL", "CI_PROJECT_ID", "CI_MERGE_REQUEST_IID"] {
            variables.insert(name.to_owned(), "7".to_owned());
        }
        variables.insert("CI_MERGE_REQUEST_TARGET_BRANCH_NAME".to_owned(), "main".to_owned());
        Script { place: format!("{GITLAB}: {name}"), text: lines(&job["script"]).join("\n"), variables }
    };
    jobs_of_gitlab().into_iter().map(script).collect()
}

fn scripts_of_hooks() -> Vec<Script> {
    let hooks = json(&text_of(HOOKS));
    let script = |hook: &Value| {
        let entry = text(&hook["entry"], "entry");
        let args = if entry.ends_with(" test") { format!("{ASSERTIONS} -f k8s") } else { "-f k8s".to_owned() };
        Script {
            place: format!("{HOOKS}: {}", hook["id"]),
            text: format!("{entry} {args}"),
            variables: BTreeMap::new(),
        }
    };
    hooks.as_array().unwrap().iter().map(script).collect()
}

fn scripts() -> Vec<Script> {
    let mut all = scripts_of_steps(ACTION, &steps_of_action());
    all.extend(scripts_of_steps(WORKFLOW, &steps_of_workflow()));
    all.extend(scripts_of_gitlab());
    all.extend(scripts_of_hooks());
    all
}

/// As the services run them: a line that fails ends the script, also at the beginning of a pipe.
fn run_script(script: &Script) -> (Scratch, Answer) {
    let scratch = Scratch::new();
    copy(&root().join("examples/shop"), &scratch.path().join("k8s"));
    repository(scratch.path());
    let bin = scratch.path().join("bin");
    fs::create_dir(&bin).unwrap();
    symlink(PROGRAM, bin.join("netsim")).unwrap();
    for program in ["gh", "curl"] {
        let file = scratch.file(&format!("bin/{program}"), "#!/bin/sh\necho \"$0 $*\"\n");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut bash = quiet("bash");
    bash.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &script.text]).current_dir(scratch.path());
    bash.envs(&script.variables).env("GITHUB_STEP_SUMMARY", scratch.path().join("summary"));
    let path = std::env::var("PATH").unwrap_or_default();
    bash.env("PATH", format!("{}:{path}", bin.display()));
    let answer = run(&script.text, &mut bash);
    (scratch, answer)
}

/// Every command that a script gives to netsim is run in it, on the example cluster.
#[test]
fn the_scripts_run() {
    let mut wrong = Vec::new();
    for script in scripts().into_iter().filter(|script| script.calls().next().is_some()) {
        let (scratch, answer) = run_script(&script);
        // A finding is an answer, and ends the script; bad usage is none.
        if ![0, 1].contains(&answer.code) || answer.err.contains("error: ") {
            wrong.push(format!("{}\n{answer}", script.place));
        }
        for call in script.calls() {
            let written = [" > ", " --out "].iter().find_map(|before| call.split_once(before));
            let file = written.map(|(_, file)| scratch.path().join(file.split_whitespace().next().unwrap_or_default()));
            if file.is_some_and(|file| fs::read_to_string(file).unwrap_or_default().is_empty()) {
                wrong.push(format!("{}: `{call}` wrote nothing", script.place));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The test above sees what there is to see, and what it runs with works.
#[test]
fn scripts_are_found_and_run() {
    let all = scripts();
    let calls: Vec<&str> = all.iter().flat_map(Script::calls).collect();
    for (file, command) in [
        (ACTION, "lint"),
        (ACTION, "test"),
        (WORKFLOW, "diff"),
        (GITLAB, "lint"),
        (GITLAB, "test"),
        (GITLAB, "diff"),
        (HOOKS, "lint"),
        (HOOKS, "test"),
    ] {
        let found = all.iter().filter(|s| s.place.starts_with(file)).flat_map(Script::calls);
        assert!(
            found.into_iter().any(|call| call.starts_with(&format!("netsim {command} "))),
            "{file}: no {command} in {calls:?}"
        );
    }
    let of = |text: &str| Script { place: String::new(), text: text.to_owned(), variables: BTreeMap::new() };
    let (_scratch, answer) =
        run_script(&of("netsim list -f k8s | grep -c TCP\ngit rev-parse --verify --quiet origin/main\ngh x"));
    answer.exits(0);
    let (_scratch, answer) = run_script(&of("netsim frobnicate -f k8s | cat\necho not here"));
    answer.exits(2);
}

#[test]
fn scripts_are_shell() {
    for script in scripts().into_iter().chain(builds_of_gitlab()) {
        let mut bash = quiet("bash");
        bash.args(["-n", "-c", &script.text]).env("PATH", "/usr/bin:/bin");
        run(&script.place, &mut bash).exits(0);
        assert!(
            !script.text.contains("${{"),
            "{}: what others write gets into a script by variables only",
            script.place
        );
    }
}

fn builds_of_gitlab() -> Vec<Script> {
    let file = json(&text_of(GITLAB));
    let text = lines(&file[".netsim"]["before_script"]).join("\n");
    vec![Script { place: format!("{GITLAB}: before_script"), text, variables: BTreeMap::new() }]
}

#[test]
fn the_action_is_sound() {
    let action = json(&text_of(ACTION));
    only(object(&action, ACTION), &["name", "description", "author", "branding", "inputs", "outputs", "runs"], ACTION);
    assert_eq!(action["runs"]["using"], "composite");
    let inputs = object(&action["inputs"], "inputs");
    for (name, input) in inputs {
        only(object(input, name), &["description", "default", "required"], name);
        assert!(!text(&input["description"], name).is_empty(), "{name}");
        // A default that is no text is not what the file seems to say.
        text(&input["default"], name);
    }
    let declared: BTreeSet<String> = inputs.keys().cloned().collect();
    let steps = steps_of_action();
    let used: BTreeSet<String> = steps.iter().flat_map(|step| names(step, "inputs.")).collect();
    assert_eq!(used, declared, "inputs that are used, and those that there are");
    let mut ids = BTreeSet::new();
    for step in &steps {
        let name = text(&step["name"], "the name of a step");
        only(object(step, name), &["name", "id", "if", "shell", "env", "run", "uses", "with"], name);
        assert!(names(step, "steps.").is_subset(&ids), "{name} asks a step that did not run before it");
        ids.extend(step["id"].as_str().map(str::to_owned));
        assert!(step.get("run").is_some() != step.get("uses").is_some(), "{name}: either run or uses");
        assert!(
            step.get("run").is_none() || step["shell"] == "bash",
            "{name}: a composite action has to name the shell"
        );
        assert!(step.get("uses").is_none_or(|uses| text(uses, name).contains('@')), "{name}: no version");
    }
}

#[test]
fn the_workflow_fits_the_action() {
    let workflow = json(&text_of(WORKFLOW));
    // YAML takes `on` for a boolean, as GitHub does not.
    only(object(&workflow, WORKFLOW), &["name", "true", "permissions", "jobs"], WORKFLOW);
    let action = json(&text_of(ACTION));
    let inputs = object(&action["inputs"], "inputs");
    let steps = steps_of_workflow();
    let ours: Vec<&Value> = steps
        .iter()
        .filter(|step| {
            step["uses"].as_str().is_some_and(|uses| uses.starts_with("netsim-dev/netsim/deploy/ci/github@"))
        })
        .collect();
    assert_eq!(ours.len(), 1, "the workflow does not use the action");
    for (name, value) in object(&ours[0]["with"], "with") {
        assert!(inputs.contains_key(name), "the action has no input `{name}`");
        text(value, name);
    }
    assert!(root().join("deploy/ci/github/action.yml").exists());
}

/// The table of docs/ci.md says what the action takes.
#[test]
fn the_documentation_has_the_inputs() {
    let action = json(&text_of(ACTION));
    let document = text_of("docs/ci.md");
    let table = document.split("<!-- inputs -->\n").nth(1).unwrap();
    let rows: BTreeMap<String, String> = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> =
                line.trim_matches('|').split(" | ").map(|cell| cell.trim_matches([' ', '|', '`'])).collect();
            (cells[0].to_owned(), cells[2].to_owned())
        })
        .collect();
    let inputs = object(&action["inputs"], "inputs").iter();
    let should: BTreeMap<String, String> =
        inputs.map(|(name, input)| (name.clone(), text(&input["default"], name).to_owned())).collect();
    assert_eq!(rows, should);
}

#[test]
fn the_jobs_of_gitlab_are_sound() {
    const KEYS: [&str; 8] = ["extends", "stage", "image", "variables", "cache", "before_script", "script", "artifacts"];
    let document = text_of("docs/ci.md");
    for (name, job) in jobs_of_gitlab() {
        let keys: Vec<&str> = KEYS.into_iter().chain(["rules"]).collect();
        only(&job, &keys, &name);
        assert!(document.contains(&name), "docs/ci.md does not name {name}");
        let declared = object(&job["variables"], "variables");
        for line in lines(&job["script"]).iter().chain(&lines(&job["before_script"])) {
            for variable in line.split('$').skip(1).map(|rest| rest.trim_start_matches('{')) {
                let variable = variable.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap();
                let known = declared.contains_key(variable) || variable == "NETSIM_GITLAB_TOKEN";
                assert!(known || !variable.starts_with("NETSIM_"), "{name}: nobody sets {variable}");
            }
        }
        let written: Vec<&str> = object(&job["artifacts"], "artifacts")
            .iter()
            .flat_map(|(key, value)| match key.as_str() {
                "reports" => object(value, key).values().filter_map(Value::as_str).collect(),
                "paths" => value.as_array().unwrap().iter().filter_map(Value::as_str).collect(),
                _ => Vec::new(),
            })
            .collect();
        assert!(!written.is_empty(), "{name} leaves nothing");
        let script = lines(&job["script"]).join("\n");
        for file in written {
            let writes = ["> ", "--out "].iter().any(|before| script.contains(&format!("{before}{file}")));
            assert!(writes, "{name}: nothing writes {file}");
        }
    }
}

#[test]
fn the_hooks_are_sound() {
    let hooks = json(&text_of(HOOKS));
    let document = text_of("docs/ci.md");
    for hook in hooks.as_array().unwrap() {
        let id = text(&hook["id"], "id");
        let keys = ["id", "name", "description", "entry", "language", "files", "pass_filenames", "require_serial"];
        only(object(hook, id), &keys, id);
        assert!(keys.iter().all(|key| hook.get(*key).is_some()), "{id}");
        assert_eq!(text(&hook["entry"], id), format!("netsim {}", id.strip_prefix("netsim-").unwrap()));
        assert!(
            document.contains(&format!("`{id}`")) || document.contains(&format!("id: {id}")),
            "docs/ci.md does not name {id}"
        );
    }
    let ids: BTreeSet<&str> = hooks.as_array().unwrap().iter().map(|hook| text(&hook["id"], "id")).collect();
    let examples: Vec<Value> = fenced(&document, "yaml").iter().map(|example| json(example)).collect();
    let used: Vec<&str> = examples
        .iter()
        .filter_map(|example| example["repos"].as_array())
        .flatten()
        .flat_map(|repo| repo["hooks"].as_array().unwrap())
        .map(|hook| text(&hook["id"], "id"))
        .collect();
    assert!(!used.is_empty() && used.iter().all(|id| ids.contains(id)), "{used:?}");
}
