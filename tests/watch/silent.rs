//! A server that says nothing, and does not close the connection either. With a client that is out of patience
//! sooner than the agent's own, and is the same otherwise.

use super::{Updates, cluster, key, keys, listed, pod, pod_lists};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use netsim_enforcer::watch::{Update, Watched};
use netsim_testkit::apiserver::ApiServer;
use std::time::Duration;

const READ_TIMEOUT: Duration = Duration::from_secs(3);

fn impatient(server: &ApiServer) -> Updates {
    let kubeconfig = Kubeconfig::from_yaml(&server.kubeconfig()).unwrap();
    Updates::by(move || async move {
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        config.default_retry = false;
        Client::try_from(config).unwrap()
    })
}

#[test]
fn a_connection_that_is_silent_is_given_up_and_goes_on_where_it_was() {
    let server = ApiServer::start(cluster(2));
    let mut updates = impatient(&server);
    updates.sync(&server);
    server.freeze();
    server.delete("pods", "a", "p00000");
    updates.until_all("failure", |update| match update {
        Update::Failing { kind, .. } => Some(*kind),
        _ => None,
    });
    server.thaw();
    updates.until("the deletion", |update| *update == Update::Delete(Watched::Pods, key("a", "p00000")));
    assert_eq!(pod_lists(&server), 1, "it goes on from where it was");
}

#[test]
fn a_server_whose_revisions_started_over_and_that_says_so_is_listed_again() {
    let server = ApiServer::start(cluster(2));
    let backup = server.backup();
    server.apply(pod("newer"));
    let (mut updates, _) = Updates::in_sync(&server);
    server.restart_from(&backup);
    let came = updates.until("a list", |update| matches!(update, Update::Listed(Watched::Pods, _)));
    assert_eq!(listed(&came, Watched::Pods), [keys("a", ["p00000", "p00001"])]);
    let told = |update: &Update| matches!(update, Update::Failing { error, .. } if error.contains("Too large"));
    assert!(came.iter().any(told), "{came:#?}");
    updates.until_marker(&server, "marker");
}
