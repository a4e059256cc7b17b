//! `netsim-enforcer run`: the agent.

use super::{Failure, OK, told_to_stop};
use crate::agent::charge::Following;
use crate::agent::{self, Config, Reports};
use crate::args::{Run, SinkArgs};
use crate::flows::{self, Feed};
use crate::kernel::{Kernel, Ownership};
use crate::observe::falcosidekick::{self, Sender};
use crate::observe::socket::{self, Told};
use crate::observe::{self, Metrics, Observed, pod_events};
use crate::watch;
use kube::Client;
use netsim_shared::compile::Modes;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;

/// How old the last beat of the loop may be for the process to be called alive. A first compile of
/// a large cluster is much shorter.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(30);

/// Runs until SIGTERM or SIGINT. What was put into the kernel stays.
///
/// # Errors
/// When it cannot begin: no cluster to ask, no privileges, an address that is taken.
pub fn run(args: &Run) -> Result<u8, Failure> {
    observe::log::init(args.log_format.into(), &args.log).map_err(Failure::new)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(Failure::new)?;
    runtime.block_on(agent(args))
}

/// When a socket that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(1);

async fn agent(args: &Run) -> Result<u8, Failure> {
    let ownership = if args.own_table { Ownership::Owned } else { Ownership::Shared };
    let kernel = Kernel::open(args.kernel.netns.as_deref(), &args.kernel.table, ownership).map_err(Failure::new)?;
    let client = watch::connect(args.kubeconfig.as_deref(), args.context.as_deref()).await.map_err(Failure::new)?;
    let listener = observe::bind(args.listen).await.map_err(Failure::new)?;
    let objects = observe::objects::start(&client, &args.ruleset.node_name, observe::objects::Pace::default());
    let reports = Reports { objects: Some(objects), ..Reports::default() };
    let flow_log = match &args.flow_log {
        Some(path) => {
            let out = flows::log::Out::open(path).map_err(Failure::new)?;
            Some(flows::log::start(out, &reports.flows, reports.metrics.clone()).map_err(Failure::new)?)
        }
        None => None,
    };
    tell(&args.sinks, &args.ruleset.node_name, &client, &reports.flows, &reports.metrics)?;
    let observed = Observed {
        metrics: reports.metrics.clone(),
        readiness: reports.readiness.clone(),
        status: reports.status.clone(),
        heartbeat: reports.heartbeat.clone(),
        heartbeat_limit: HEARTBEAT_LIMIT,
    };
    let end = told_to_stop()?;
    let address = listener.local_addr().unwrap_or(args.listen);
    let told = Told { observed: observed.clone(), flows: reports.flows.clone(), questions: reports.questions.clone() };
    tokio::spawn(observe::serve(listener, observed, std::future::pending()));
    let options = args.ruleset.options();
    let mode = if options.audit { "audit: nothing is dropped" } else { "enforce" };
    tracing::info!(node = %options.node, table = %args.kernel.table, %address, mode, version = env!("CARGO_PKG_VERSION"), "starting");
    let socket = socket_of(args, told, reports.charge.follow());
    let updates = watch::watch(&client, &options.node);
    let config = Config {
        options,
        modes: Modes::default(),
        pod_cidrs: args.ruleset.pod_cidrs.clone(),
        table: args.kernel.table.clone(),
        coalesce: args.coalesce,
        verify_interval: args.verify_interval,
        manage_sysctls: args.manage_sysctls,
        netns: args.kernel.netns.clone(),
        names: args.names.config(),
        learning: args.names.learning(),
        flow_interval: args.flow_interval,
    };
    agent::run(config, kernel, updates, reports, end).await;
    if let Some((end, served)) = socket {
        _ = end.send(());
        // So that its file is gone when the process is.
        _ = served.await;
    }
    if let Some(log) = flow_log {
        log.finish().await;
    }
    tracing::info!("stopped; what was enforced stays enforced, `netsim-enforcer cleanup` takes it out");
    Ok(OK)
}

/// Begins to tell flows to all that are named.
fn tell(args: &SinkArgs, node: &str, client: &Client, flows: &Feed, metrics: &Metrics) -> Result<(), Failure> {
    if let Some(target) = args.falcosidekick() {
        let metrics = metrics.sink("falcosidekick");
        let sender = Sender::new(target, node, falcosidekick::Pace::default(), metrics).map_err(Failure::new)?;
        tokio::spawn(sender.run(flows.subscribe()));
    }
    if let Some(pace) = args.pod_events() {
        let metrics = metrics.sink("events");
        tokio::spawn(pod_events::run(client.clone(), node.to_owned(), pace, flows.subscribe(), metrics));
    }
    Ok(())
}

/// Serves the socket beside everything else. Without one, the node is enforced all the same.
fn socket_of(args: &Run, told: Told, charge: Following) -> Option<(oneshot::Sender<()>, JoinHandle<()>)> {
    let path = args.socket()?.to_owned();
    let (end, ended) = oneshot::channel();
    Some((end, tokio::spawn(serve_socket(path, told, charge, ended))))
}

/// Serves the socket until the end, but for while the table is another's. What cannot be had, such as because an agent
/// that ends still has it, is told once and tried again.
async fn serve_socket(path: PathBuf, told: Told, mut charge: Following, mut ended: oneshot::Receiver<()>) {
    let mut failed = None;
    loop {
        tokio::select! {
            _ = &mut ended => return,
            here = charge.held() => if !here { return },
        }
        match socket::bind(&path) {
            Ok(socket) => {
                if failed.take().is_some() {
                    tracing::info!("flows and explain can be asked for now");
                }
                let mut over = false;
                let end = async {
                    tokio::select! {
                        _ = &mut ended => over = true,
                        () = charge.lost() => {}
                    }
                };
                if let Err(error) = socket::serve(socket, told.clone(), end).await {
                    tracing::warn!("the socket `{}` cannot be served: {error}", path.display());
                }
                if over {
                    return;
                }
            }
            Err(error) => {
                let why = error.to_string();
                if failed.as_ref() != Some(&why) {
                    tracing::warn!("flows and explain cannot be asked for: {why}");
                }
                failed = Some(why);
            }
        }
        tokio::select! {
            _ = &mut ended => return,
            () = sleep(AGAIN) => {}
        }
    }
}
