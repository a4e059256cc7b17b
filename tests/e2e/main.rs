//! The enforcer on a cluster, from its manifests to its end: a real API server, real packets between
//! network namespaces, and in between kubelets of the tests. Runs only when it is asked for, see
//! CONTRIBUTING.md.
//!
//! The program starts itself in other parts: as what stays outside of the private network, as the
//! parent and as the first process of a container, and as `kubectl`.

mod container;
mod kubelet;
mod life;
mod pod;
mod readme;
mod relay;
mod server;
mod shell;
mod world;

use libtest_mimic::{Arguments, Failed, Trial};
use std::path::Path;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    match words.get(1).map(String::as_str) {
        Some(relay::OUTSIDE) => relay::outside(Path::new(&words[2]), &words[3]),
        Some(container::OUTER) => container::outer(Path::new(&words[2])),
        Some(container::INNER) => container::inner(Path::new(&words[2])),
        Some(container::EXEC) => container::exec(&words[2], &words[3..]),
        Some(shell::KUBECTL) => shell::kubectl(&words[2..]),
        _ => {}
    }
    let mut arguments = Arguments::from_args();
    // They share a cluster, in which the names of the manifests are there once.
    arguments.test_threads = Some(1);
    let asked = server::is_asked_for() && !arguments.list;
    if asked {
        // Dropped never: the process outside ends when this one does.
        world::go_private();
    } else {
        eprintln!(
            "NOT RUN: end to end, it needs a real API server (NETSIM_REAL_API=1 and KUBECONFIG, or tests/e2e/run)"
        );
    }
    let mut trials = pod::trials();
    for (name, test) in [
        ("from_the_first_apply_to_the_last_delete", life::from_start_to_end as fn()),
        ("the_operators_documents_word_by_word", readme::word_by_word as fn()),
    ] {
        let trial = Trial::test(format!("real::{name}"), move || -> Result<(), Failed> {
            assert!(asked, "this needs a real API server: NETSIM_REAL_API=1 and KUBECONFIG");
            test();
            Ok(())
        });
        trials.push(trial.with_ignored_flag(!asked));
    }
    libtest_mimic::run(&arguments, trials).exit();
}
