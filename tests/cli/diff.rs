//! `diff` and `what-if`: sides, kinds of changes, reasons, forms and exit codes.

use crate::assert_answer;
use crate::live::objects;
use crate::run::{PROGRAM, Scratch, netsim, netsim_reading, quiet, root, run, text_of, words};
use netsim_testkit::apiserver::ApiServer;
use netsim_testkit::command::Answer;
use std::fs;

const SHOP: &str = "examples/shop";
const NODES: &str = "-f tests/fixtures/clause-D2-own-node/cluster.yaml -f tests/fixtures/clause-D2-own-node/plain.yaml \
                     -f tests/fixtures/clause-D2-own-node/nodes.yaml";
const FOREIGN: &str = "-f tests/fixtures/clause-H2-kinds-not-understood/cluster.yaml \
                       -f tests/fixtures/clause-H2-kinds-not-understood/foreign.yaml";

/// A policy in a namespace, with this `spec`.
fn policy(namespace: &str, name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// A Deployment whose pods have the label `app` with its name.
fn deployment(namespace: &str, name: &str) -> String {
    format!(
        "---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec: {{template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: []}}}}}}\n"
    )
}

fn three() -> String {
    ["client", "web", "db"].map(|name| deployment("x", name)).concat() + &deployment("w", "other")
}

/// Writes a pair of sides.
fn sides(scratch: &Scratch, name: &str, old: &str, new: &str) -> String {
    let old = scratch.file(&format!("{name}-old.yaml"), old);
    let new = scratch.file(&format!("{name}-new.yaml"), new);
    format!("{old} {new}")
}

const FROM_CLIENT: &str = "{podSelector: {matchLabels: {app: web}}, ingress: \
                           [{from: [{podSelector: {matchLabels: {app: client}}}], ports: [{port: 80}]}]}";

#[test]
fn each_kind_of_change_is_told_with_its_reason() {
    let scratch = Scratch::new();
    let three = three();
    let web = |rules: &str| {
        format!("{three}{}", policy("x", "web", &format!("{{podSelector: {{matchLabels: {{app: web}}}}, {rules}}}")))
    };
    let deny = policy("x", "default-deny", "{podSelector: {}, policyTypes: [Ingress, Egress]}");
    let dual = text_of("tests/cli/inputs/dual-stack.yaml");
    let from = |peer: &str, ports: &str| format!("ingress: [{{from: [{peer}], ports: [{ports}]}}]");
    let client = "{podSelector: {matchLabels: {app: client}}}";
    for (name, old, new) in [
        ("identical", web(""), web("")),
        ("isolated", three.clone(), format!("{three}{deny}")),
        ("no-longer-isolated", format!("{three}{deny}"), three.clone()),
        ("rule-added", web(""), web(&from(client, "{port: 80}"))),
        ("rule-removed", web(&from(client, "{port: 80}")), web("")),
        ("ports", web(&from(client, "{port: 80}, {port: 81}")), web(&from(client, "{port: 80}, {port: 82}"))),
        (
            "outside",
            web(&from("{ipBlock: {cidr: 10.0.0.0/8}}", "{port: 443}")),
            web(&from("{ipBlock: {cidr: 10.0.0.0/9}}", "{port: 443}")),
        ),
        (
            "selects-otherwise",
            web(&from(client, "{port: 80}")),
            web(&from(client, "{port: 80}")).replacen("labels: {app: client}", "labels: {app: web}", 1),
        ),
        (
            "added-and-removed",
            format!("{three}{}{}", deployment("x", "gone"), policy("x", "web", FROM_CLIENT)),
            format!("{three}{}{}", deployment("z", "come"), policy("x", "web", FROM_CLIENT)),
        ),
        (
            "one-family",
            dual.clone(),
            format!(
                "{dual}{}",
                policy(
                    "x",
                    "v4",
                    "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}"
                )
            ),
        ),
    ] {
        let sides = sides(&scratch, name, &old, &new);
        assert_answer!(format!("diff-{name}"), netsim(&format!("diff {sides}")).exits(0));
    }
}

#[test]
fn what_cannot_be_told_is_neither_opened_nor_closed() {
    let deny = "tests/fixtures/clause-D2-own-node/deny-all.yaml";
    let scratch = Scratch::new();
    let nothing = scratch.file("nothing.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: unused}\n");
    let unknown = netsim(&format!("diff {NODES} {nothing} {deny} --no-outside")).exits(3);
    assert_answer!("diff-unknown", unknown);
    // Unknown on both sides for the same reason is no difference.
    let same = netsim(&format!("diff {NODES} {deny} {deny}")).exits(0);
    assert_answer!("diff-unknown-alike", same);
    let open = "tests/fixtures/clause-H2-kinds-not-understood/policies.yaml";
    let arguments = format!("diff {FOREIGN} {nothing} {open} --no-outside");
    assert_answer!("diff-incomplete", netsim(&arguments).exits(3));
    // What is certain fails; what is incomplete does not.
    netsim(&format!("{arguments} --fail-on any")).exits(1);
    netsim(&format!("{arguments} --fail-on any -n x")).exits(3);
}

#[test]
fn forms_and_filters() {
    let scratch = Scratch::new();
    let old = scratch.path().join("old");
    fs::create_dir(&old).unwrap();
    for file in fs::read_dir(root().join(SHOP)).unwrap().map(|entry| entry.unwrap().path()) {
        let text = fs::read_to_string(&file).unwrap();
        // Before: payments had no policy of its own, and the gateway another port.
        let documents =
            text.split("\n---\n").filter(|d| !(d.contains("NetworkPolicy") && d.contains("namespace: payments")));
        fs::write(old.join(file.file_name().unwrap()), documents.collect::<Vec<_>>().join("\n---\n")).unwrap();
    }
    let sides = format!("{} {SHOP}", old.display());
    for (name, options) in [
        ("text", ""),
        ("md", "-o md"),
        ("json", "-o json"),
        ("namespace", "-n analytics"),
        ("port", "--port 5432"),
        ("no-outside", "--no-outside --port 53/udp"),
    ] {
        assert_answer!(format!("diff-shop-{name}"), netsim(&format!("diff {sides} {options}")).exits(0));
    }
    netsim(&format!("diff {sides} --exit-code")).exits(1);
    netsim(&format!("diff {sides} --fail-on closed")).exits(1);
    netsim(&format!("diff {sides} --fail-on opened")).exits(0);
    netsim(&format!("diff {SHOP} {} --fail-on opened", old.display())).exits(1);
    netsim(&format!("diff {SHOP} {SHOP} --exit-code")).exits(0).says("no connection changed");
    assert_answer!("diff-bad-namespace", netsim(&format!("diff {sides} -n paymets")).exits(2));
}

#[test]
fn sides_that_cannot_be_read() {
    for (name, arguments) in [
        ("one", "diff examples/shop"),
        ("none", "diff"),
        ("stdin-twice", "diff - -"),
        ("unused-cluster", "diff examples/shop examples/shop --context prod"),
        ("missing", "diff examples/shop gone"),
        ("nothing-changes", "what-if --base examples/shop"),
        ("no-such-policy", "what-if --base examples/shop --delete shop/default-denny"),
        ("no-policy", "what-if --base examples/shop --delete shop/deploy/api"),
    ] {
        assert_answer!(format!("diff-bad-{name}"), netsim(arguments).exits(2));
    }
}

/// A repository with two commits, the last of which changed the port of a policy.
struct Repository(Scratch);

/// A command that finds git where the tests find it, and none of the machine's settings for it.
fn with_git(program: &str) -> std::process::Command {
    let mut command = quiet(program);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    // A folder for scratch files may lie in a repository.
    command.env("GIT_CEILING_DIRECTORIES", std::env::temp_dir());
    command
}

impl Repository {
    fn new() -> Self {
        let repository = Repository(Scratch::new());
        let folder = repository.0.path().join("deploy/shop");
        fs::create_dir_all(&folder).unwrap();
        repository.git("init --quiet --initial-branch main");
        fs::write(folder.join("three.yaml"), three()).unwrap();
        fs::write(folder.join("web.yaml"), policy("x", "web", FROM_CLIENT)).unwrap();
        fs::write(folder.join("notes.txt"), "not read").unwrap();
        repository.commit("one");
        fs::write(folder.join("web.yaml"), policy("x", "web", &FROM_CLIENT.replace("80", "81"))).unwrap();
        repository.commit("two");
        repository
    }

    fn git(&self, arguments: &str) {
        let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
        let mut command = with_git("git");
        command.args(identity).args(words(arguments)).current_dir(self.0.path());
        run(arguments, &mut command).exits(0);
    }

    fn commit(&self, message: &str) {
        self.git("add --all");
        self.git(&format!("commit --quiet --message {message}"));
    }

    fn netsim(&self, arguments: &str, folder: &str) -> Answer {
        let mut command = with_git(PROGRAM);
        command.args(words(arguments)).current_dir(self.0.path().join(folder));
        run(&format!("netsim {arguments}"), &mut command)
    }
}

#[test]
fn a_revision_is_a_side() {
    let repository = Repository::new();
    let whole = repository.netsim("diff HEAD~1: main:", "").exits(0);
    assert_answer!("diff-git", whole);
    // A directory, a file, a path from here, and the working tree.
    for (arguments, folder) in [
        ("diff HEAD~1:deploy/shop/ deploy/shop", ""),
        ("diff main~1:deploy deploy/", ""),
        ("diff HEAD~1:./shop shop", "deploy"),
        ("diff -f main:deploy/shop/three.yaml HEAD~1:deploy/shop/web.yaml HEAD:deploy/shop/web.yaml", ""),
        ("diff --old HEAD~1:deploy/shop/web.yaml --old deploy/shop/three.yaml --new deploy/shop", ""),
    ] {
        let answer = repository.netsim(arguments, folder).exits(0);
        assert_eq!(answer.out.lines().next(), whole.out.lines().next(), "{answer}");
    }
    // A path that exists wins.
    fs::write(repository.0.path().join("HEAD:deploy"), three()).unwrap();
    repository.netsim("diff HEAD:deploy HEAD:deploy/shop", "").exits(0).says("policies: added x/web");
}

#[test]
fn revisions_that_cannot_be_read() {
    let repository = Repository::new();
    for (name, side) in [
        ("revision", "man:deploy"),
        ("path", "main:deploy/gone"),
        ("no-manifest", "main:deploy/shop/../../nowhere"),
        ("index", ":deploy"),
    ] {
        assert_answer!(format!("diff-git-bad-{name}"), repository.netsim(&format!("diff {side} deploy"), "").exits(2));
    }
    let shallow = Scratch::new();
    let (from, to) = (repository.0.path().display(), shallow.path().join("clone"));
    repository.git(&format!("clone --quiet --depth 1 file://{from} {}", to.display()));
    let clone = Repository(shallow);
    assert_answer!("diff-git-shallow", clone.netsim("diff HEAD~1: HEAD:", "clone").exits(2));
    let nowhere = Repository(Scratch::new());
    assert_answer!("diff-git-no-repository", nowhere.netsim("diff main: main:", "").exits(2));
    let mut command = quiet(PROGRAM);
    command.args(words("diff main: main:")).env("PATH", "/nowhere");
    assert_answer!("diff-git-no-git", run("netsim diff main: main:", &mut command).exits(2));
}

#[test]
fn a_live_cluster_is_a_side_and_a_base() {
    let server = ApiServer::start(objects(&text_of("tests/cli/inputs/dump.json")));
    let scratch = Scratch::new();
    let kubeconfig = scratch.file("kubeconfig", &server.kubeconfig());
    let dump = "tests/cli/inputs/dump.json";
    let live = format!("--kubeconfig {kubeconfig}");
    netsim(&format!("diff live {dump} {live} --exit-code")).exits(0).says("no connection changed");
    netsim(&format!("diff {dump} live:kind-a {live} --exit-code")).exits(0).says("no connection changed");
    assert_answer!("diff-live-context", netsim(&format!("diff {dump} live:kind-c {live}")).exits(2));
    let closed = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: x}\n\
                  spec: {podSelector: {matchLabels: {app: web}}, ingress: []}\n";
    let file = scratch.file("closed.yaml", closed);
    let answer = netsim(&format!("what-if -f {file} {live} --no-outside")).exits(0);
    assert_answer!("what-if-live", answer);
    // What stands in a file has a line there.
    let of_file = netsim(&format!("what-if -f {file} --base {dump} --no-outside"));
    assert_eq!(of_file.out.replace(&format!("  {dump}:226"), ""), answer.out);
    assert_eq!(
        netsim_reading(&format!("what-if -f - --base {dump} --no-outside"), closed).out.lines().next(),
        answer.out.lines().next()
    );
    assert_answer!("what-if-delete", netsim(&format!("what-if --delete netpol/web -n x --base {dump}")).exits(0));
}

/// The pods of a cluster and the workload in a file that makes them are the same thing.
#[test]
fn pods_are_matched_with_the_workload_that_makes_them() {
    let scratch = Scratch::new();
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: x}\n\
                      spec: {template: {metadata: {labels: {app: web}}, spec: {containers: \
                      [{ports: [{name: http, containerPort: 8080}]}]}}}\n";
    let files = scratch.file("files.yaml", deployment);
    let answer = netsim(&format!("diff tests/cli/inputs/dump.json {files} -o json")).exits(0).json();
    assert_eq!(answer["removed"]["workloads"], serde_json::json!(["x/client"]), "{answer:#}");
    assert_eq!(answer["added"]["workloads"], serde_json::json!([]), "{answer:#}");
}
