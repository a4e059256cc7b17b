//! Where objects come from, and what is said when they cannot be read.

use crate::assert_answer;
use crate::run::{netsim, netsim_reading, text_of};

#[test]
fn input_that_cannot_be_read() {
    for (name, arguments) in [
        ("several", "list -f tests/cli/inputs/wrong-one.yaml"),
        ("several-files", "list -f tests/cli/inputs/wrong-one.yaml -f tests/cli/inputs/wrong-two.yaml -f gone.yaml"),
        ("template", "list -f tests/cli/inputs/chart"),
        ("missing", "list -f gone.yaml"),
        ("glob", "list -f 'tests/cli/inputs/*.toml'"),
        ("directory", "list -f tests/cli/inputs/empty"),
        ("nothing", "list -f tests/cli/inputs/settings.yaml"),
        ("both", "list -f examples/shop --context prod"),
        ("no-input", "list"),
        ("no-kubeconfig", "list --context prod"),
        ("not-in-cluster", "list --in-cluster"),
    ] {
        assert_answer!(format!("input-{name}"), netsim(arguments).exits(2));
    }
    assert_answer!("input-empty-stdin", netsim_reading("list", " \n").exits(2));
    assert_answer!(
        "input-bad-stdin",
        netsim_reading("list -f -", &text_of("tests/cli/inputs/wrong-two.yaml")).exits(2)
    );
}

#[test]
fn what_tools_print_is_read_from_standard_input() {
    let rendered = text_of("tests/cli/inputs/rendered.yaml");
    for arguments in ["list", "list -f -"] {
        let answer = netsim_reading(arguments, &rendered).exits(0);
        assert!(answer.out.contains("web/deploy/back\n  TCP 8080  from web/deploy/front\n"), "{answer}");
    }
    assert_answer!("input-rendered", netsim_reading("list -f -", &rendered));
    let dump = text_of("tests/cli/inputs/dump.json");
    assert_answer!("input-dump", netsim_reading("can-reach -f - x/client x/svc/web:80 --explain", &dump).exits(0));
}

#[test]
fn later_files_replace_objects_of_earlier_ones() {
    let open = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web, namespace: x}\n\
                spec: {podSelector: {matchLabels: {app: web}}, ingress: [{}]}\n";
    let question = "can-reach -f tests/cli/inputs/dump.json x/client x/svc/web:80";
    netsim(question).exits(0);
    let closed = open.replace("ingress: [{}]", "ingress: []");
    netsim_reading(&format!("{question} -f -"), &closed).exits(1);
}

#[test]
fn files_directories_and_globs() {
    let whole = netsim("list -f examples/shop").exits(0);
    for arguments in ["list -f 'examples/shop/*.yaml'", "list -f 'examples/shop/**/*.yaml'", "list -f examples/./shop/"] {
        assert_eq!(netsim(arguments).out, whole.out, "{arguments}");
    }
    let one_by_one = "list -f examples/shop/shop.yaml -f examples/shop/payments.yaml -f examples/shop/analytics.yaml \
                      -f examples/shop/platform.yaml -f examples/shop/namespaces.yaml";
    assert_eq!(netsim(one_by_one).out, whole.out);
}

#[test]
fn objects_without_a_namespace_lie_in_the_default_one() {
    let input = "-f tests/cli/inputs/unnamed-namespace.yaml";
    netsim(&format!("can-reach {input} client web:80")).exits(0).says("default/client → default/web");
    netsim(&format!("can-reach {input} --default-namespace q client q/web:80")).exits(0).says("q/client → q/web");
    netsim(&format!("can-reach {input} client -n q web:80")).exits(2);
}
