//! The programs of others, and what they render.

use netsim_testkit::command::{Answer, Scratch, quiet, root, run};
use serde_json::Value;
use std::path::PathBuf;

/// The folders that programs are looked for in, before those of the machine.
fn path() -> String {
    let tools = [Some(root().join("target")), std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from)];
    let tools = tools.into_iter().flatten().map(|target| target.join("tools").display().to_string());
    tools.chain(std::env::var("PATH")).collect::<Vec<_>>().join(":")
}

/// Runs one of them, from the root of the repository.
pub fn tool(name: &str, arguments: &[&str]) -> Answer {
    let path = path();
    let places = path.split(':').map(|folder| PathBuf::from(folder).join(name));
    let Some(program) = places.into_iter().find(|place| place.is_file()) else {
        panic!("there is no `{name}`: run `make setup`, or leave this out by NETSIM_NO_HELM=1")
    };
    let mut command = quiet(program);
    // npm's own kubectl looks at nothing else.
    command.env("PATH", &path).args(arguments);
    run(&format!("{name} {}", arguments.join(" ")), &mut command)
}

/// The documents of a stream of YAML.
pub fn documents(text: &str) -> Vec<Value> {
    let mut documents = vec![String::new()];
    for line in text.lines() {
        if line == "---" {
            documents.push(String::new());
        } else if let Some(last) = documents.last_mut() {
            last.push_str(line);
            last.push('\n');
        }
    }
    let values = documents.iter().map(|text| serde_saphyr::from_str::<Value>(text));
    values
        .map(|value| value.unwrap_or_else(|error| panic!("{error}\n{text}")))
        .filter(|value| !value.is_null())
        .collect()
}

/// A file of the repository.
pub fn file(path: &str) -> Vec<Value> {
    documents(&netsim_testkit::command::text_of(path))
}

/// What `kubectl kustomize` makes of the base with components.
pub fn kustomized(components: &[&str]) -> Vec<Value> {
    let scratch = Scratch::new();
    // Kustomize takes no absolute paths.
    let here = scratch.path().canonicalize().unwrap();
    let up = "../".repeat(here.components().count() - 1);
    let deploy =
        format!("{up}{}/deploy/kustomize", root().canonicalize().unwrap().display().to_string().trim_matches('/'));
    let components: String = components.iter().map(|name| format!("- {deploy}/components/{name}\n")).collect();
    let components = if components.is_empty() { components } else { format!("components:\n{components}") };
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- {deploy}/base\n{components}"
    );
    scratch.file("kustomization.yaml", &text);
    documents(&tool("kubectl", &["kustomize", &here.display().to_string()]).exits(0).out)
}

/// What `kubectl kustomize` makes of a folder of `deploy/kustomize`.
pub fn folder(name: &str) -> Vec<Value> {
    documents(&tool("kubectl", &["kustomize", &format!("deploy/kustomize/{name}")]).exits(0).out)
}

/// The chart, with these settings.
pub const CHART: &str = "deploy/helm/netsim-enforcer";

/// What `helm template` answers.
pub fn templated(settings: &[&str]) -> Answer {
    let fixed = ["template", "netsim-enforcer", CHART, "--namespace", "netsim-system"];
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    tool("helm", &fixed.into_iter().chain(settings).collect::<Vec<_>>())
}

/// The components, each with the settings of the chart that do the same.
pub const COMPONENTS: [(&str, &str); 4] = [
    ("audit", "audit=true"),
    ("bridge", "bridge.enabled=true"),
    ("dns", "dns.enabled=true"),
    ("monitoring", "monitoring.enabled=true"),
];

/// Nothing, each component alone, and all together.
pub fn selections() -> Vec<Vec<(&'static str, &'static str)>> {
    let alone = COMPONENTS.iter().map(|component| vec![*component]);
    [Vec::new()].into_iter().chain(alone).chain([COMPONENTS.to_vec()]).collect()
}
