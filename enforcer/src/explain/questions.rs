//! From who asks to who answers: one question at a time, and nobody waits for ever.

use super::answer::Explanation;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A question as it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// Who connects.
    pub source: String,
    /// To whom, on which port: `x/web:80/TCP`.
    pub destination: String,
}

impl Words {
    /// Of the parameters of a request.
    ///
    /// # Errors
    /// What is missing, or is not known.
    pub fn read(parameters: &[(String, String)]) -> Result<Self, String> {
        const FORM: &str = "ask /explain?source=NS/POD&destination=NS/POD&port=80&protocol=TCP";
        let (mut source, mut destination, mut port, mut protocol) = (None, None, None, None);
        for (name, value) in parameters {
            let place = match name.as_str() {
                "source" => &mut source,
                "destination" => &mut destination,
                "port" => &mut port,
                "protocol" => &mut protocol,
                other => return Err(format!("there is no parameter `{other}`; {FORM}")),
            };
            if place.replace(value.clone()).is_some() {
                return Err(format!("`{name}` is given twice; {FORM}"));
            }
        }
        let source = source.ok_or_else(|| format!("there is no source; {FORM}"))?;
        let mut destination = destination.ok_or_else(|| format!("there is no destination; {FORM}"))?;
        // As it is written with the port behind it.
        if let Some(port) = port {
            if destination.parse::<std::net::Ipv6Addr>().is_ok() {
                destination = format!("[{destination}]");
            }
            destination = format!("{destination}:{port}");
            if let Some(protocol) = protocol {
                destination = format!("{destination}/{protocol}");
            }
        } else if protocol.is_some() {
            return Err(format!("a protocol takes a port; {FORM}"));
        }
        Ok(Words { source, destination })
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AskError {
    /// The question makes no sense here.
    Question(String),
    /// The agent does not know the cluster yet.
    Starting,
    /// It did not come in time.
    TooLate,
}

impl AskError {
    /// Whether who asked has to ask otherwise.
    pub fn is_of_the_asker(&self) -> bool {
        matches!(self, AskError::Question(_))
    }
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Question(why) => f.write_str(why),
            AskError::Starting => f.write_str("the agent does not know the cluster yet"),
            AskError::TooLate => f.write_str("the agent is busy: there was no answer in time"),
        }
    }
}

/// What becomes of a question.
pub type Answered = Result<Explanation, AskError>;

/// A question that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    /// The question.
    pub words: Words,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Answered>,
}

/// Where questions are asked. A handle: clones share it.
#[derive(Debug, Clone)]
pub struct Questions {
    /// Held while a question is asked: there is one at a time.
    sender: Arc<tokio::sync::Mutex<mpsc::Sender<Asked>>>,
    receiver: Arc<Mutex<Option<mpsc::Receiver<Asked>>>>,
}

impl Default for Questions {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Questions { sender: Arc::new(tokio::sync::Mutex::new(sender)), receiver: Arc::new(Mutex::new(Some(receiver))) }
    }
}

impl Questions {
    /// Asks.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&self, words: Words) -> Answered {
        let asked = async {
            let sender = self.sender.lock().await;
            let (reply, answer) = oneshot::channel();
            sender.send(Asked { words, reply }).await.map_err(|_| AskError::TooLate)?;
            answer.await.unwrap_or(Err(AskError::TooLate))
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(AskError::TooLate))
    }

    /// The questions, for the one who answers them; nothing for anybody else.
    pub fn take(&self) -> Option<mpsc::Receiver<Asked>> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
