//! One file a command. Each gives the exit code, or what went wrong.

mod client;

pub mod cleanup;
pub mod explain;
pub mod flows;
pub mod prepare_node;
pub mod render;
pub mod run;
pub mod status;
pub mod verify;

use netsim::load::LoadError;
use std::fmt;
use std::io::Write;
use tokio::signal::unix::{SignalKind, signal};

/// Why a command could not do what it was asked: lines for standard error.
#[derive(Debug)]
pub struct Failure(pub Vec<String>);

impl Failure {
    /// Of one error.
    pub fn new(error: impl fmt::Display) -> Self {
        Failure(vec![format!("error: {error}")])
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Failure(error.0.iter().map(ToString::to_string).collect())
    }
}

/// Done, and all is well.
pub const OK: u8 = 0;
/// Done, and something is not as it should be.
pub const DIFFERS: u8 = 1;
/// Not done.
pub const CANNOT: u8 = 2;
/// Done, and what came of it is not certain.
pub const UNCERTAIN: u8 = 3;

/// What ends a program that stays: SIGTERM or SIGINT, caught from now on.
fn told_to_stop() -> Result<impl Future<Output = ()>, Failure> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate()).map_err(Failure::new)?,
        signal(SignalKind::interrupt()).map_err(Failure::new)?,
    );
    Ok(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
}

/// Writes an answer. A reader that has seen enough, as `head` has, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(error)),
        _ => Ok(()),
    }
}
