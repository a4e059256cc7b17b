//! Answers what would become of a connection. The loop only looks things up: the kernel's table is read by the netlink
//! thread, and compared beside the loop.

use super::Agent;
use super::programmer::deviations;
use crate::explain::{
    AskError, Asked, Connection, Explanation, Facts, KernelState, Question, Verdict, combine, connections, find,
};
use crate::render::NamesSet;
use netsim_shared::dns::NamePattern;
use netsim_shared::net::Family;
use std::net::IpAddr;
use std::time::Instant;
use tokio::sync::mpsc;

/// How many differences of the table are told.
const DIFFERENCES: usize = 20;

/// The next question; never, when nobody can ask.
pub async fn next(questions: &mut Option<mpsc::Receiver<Asked>>) -> Asked {
    if let Some(receiver) = questions
        && let Some(asked) = receiver.recv().await
    {
        return asked;
    }
    std::future::pending().await
}

impl Agent {
    /// Answers a question, as soon as the kernel has been read.
    pub(super) fn explain(&self, Asked { words, reply }: Asked) {
        let Some(compiled) = self.state.compiled() else {
            _ = reply.send(Err(AskError::Starting));
            return;
        };
        let wanted = self.names.wanted(Some(compiled));
        let stands_for = |patterns: &[NamePattern], address: IpAddr| {
            let set = NamesSet { patterns: patterns.into(), family: Family::of(address), seen: false };
            wanted.of(&set).contains_key(&address)
        };
        let facts = Facts {
            index: self.state.index(),
            compiled,
            options: &self.config.options,
            pod_cidrs: &self.pod_cidrs,
            ruleset: self.programmer.held(),
            timed: self.programmer.timed(),
            now: Instant::now(),
            stands_for: &stands_for,
        };
        let question = match find(&facts, &words) {
            Ok(question) => question,
            Err(why) => {
                _ = reply.send(Err(AskError::Question(why)));
                return;
            }
        };
        let connections = connections(&facts, &question);
        let mut answer = self.answer(question, connections);
        let Some(held) = self.programmer.held().cloned() else {
            answer.doubts.push("it is not known what the kernel holds".to_owned());
            _ = reply.send(Ok(settled(answer)));
            return;
        };
        let timed = self.programmer.timed().clone();
        // Asked for now: what the loop changes later comes after it.
        let read = self.kernel.read();
        tokio::spawn(async move {
            match read.await {
                Ok(dump) => {
                    let compare = move || deviations(&held, &timed, dump.as_ref());
                    match tokio::task::spawn_blocking(compare).await {
                        Ok(differences) => tell(&mut answer, differences),
                        Err(error) => answer.doubts.push(format!("the table could not be compared: {error}")),
                    }
                }
                Err(error) => answer.doubts.push(format!("the table cannot be read: {error}")),
            }
            _ = reply.send(Ok(settled(answer)));
        });
    }

    fn answer(&self, question: Question, connections: Vec<Connection>) -> Explanation {
        let audit = self.config.options.audit;
        let mut doubts = self.reports.readiness.reasons();
        if connections.is_empty() {
            let (source, destination) = (&question.source.name, &question.destination.name);
            doubts.push(format!("{source} and {destination} have no addresses of the same family"));
        }
        let mut notes = question.notes;
        if audit {
            notes.push("audit mode: nothing is dropped, what would be is called denied".to_owned());
        }
        Explanation {
            node: self.config.options.node.to_string(),
            mode: if audit { "audit" } else { "enforce" }.to_owned(),
            verdict: combine(connections.iter().map(|connection| connection.verdict)),
            certain: false,
            doubts,
            connections,
            kernel: KernelState {
                as_programmed: None,
                generation: self.programmer.generation(),
                differences: Vec::new(),
            },
            notes,
        }
    }
}

/// Takes in what is otherwise in the kernel.
fn tell(answer: &mut Explanation, differences: Vec<String>) {
    answer.kernel.as_programmed = Some(differences.is_empty());
    if !differences.is_empty() {
        answer
            .doubts
            .push("somebody else changed the table: what is said of the kernel is what it should do".to_owned());
    }
    let left_out = differences.len().saturating_sub(DIFFERENCES);
    answer.kernel.differences = differences.into_iter().take(DIFFERENCES).collect();
    if left_out > 0 {
        answer.kernel.differences.push(format!("… and {left_out} more"));
    }
}

fn settled(mut answer: Explanation) -> Explanation {
    let clear = |connection: &Connection| connection.doubts.is_empty() && connection.verdict != Verdict::Unknown;
    answer.certain = answer.doubts.is_empty() && answer.connections.iter().all(clear);
    answer
}
