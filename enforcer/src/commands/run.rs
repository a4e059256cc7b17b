//! `netsim-enforcer run`: the agent.

use super::{Failure, OK, told_to_stop};
use crate::agent::{self, Config, Reports};
use crate::args::Run;
use crate::kernel::{Kernel, Ownership};
use crate::observe::{self, Observed};
use crate::watch;
use netsim_shared::compile::Modes;
use std::time::Duration;

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

async fn agent(args: &Run) -> Result<u8, Failure> {
    let ownership = if args.own_table { Ownership::Owned } else { Ownership::Shared };
    let kernel = Kernel::open(args.kernel.netns.as_deref(), &args.kernel.table, ownership).map_err(Failure::new)?;
    let client = watch::connect(args.kubeconfig.as_deref(), args.context.as_deref()).await.map_err(Failure::new)?;
    let listener = observe::bind(args.listen).await.map_err(Failure::new)?;
    let objects = observe::objects::start(&client, &args.ruleset.node_name, observe::objects::Pace::default());
    let reports = Reports { objects: Some(objects), ..Reports::default() };
    let observed = Observed {
        metrics: reports.metrics.clone(),
        readiness: reports.readiness.clone(),
        status: reports.status.clone(),
        heartbeat: reports.heartbeat.clone(),
        heartbeat_limit: HEARTBEAT_LIMIT,
    };
    let end = told_to_stop()?;
    let address = listener.local_addr().unwrap_or(args.listen);
    tokio::spawn(observe::serve(listener, observed, std::future::pending()));
    let options = args.ruleset.options();
    let mode = if options.audit { "audit: nothing is dropped" } else { "enforce" };
    tracing::info!(node = %options.node, table = %args.kernel.table, %address, mode, version = env!("CARGO_PKG_VERSION"), "starting");
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
    };
    agent::run(config, kernel, updates, reports, end).await;
    tracing::info!("stopped; what was enforced stays enforced, `netsim-enforcer cleanup` takes it out");
    Ok(OK)
}
