//! The log: lines of text for people, or of JSON for machines, on standard error.

use std::fmt;
use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object a line: `timestamp`, `level`, `target` and `fields`.
    Json,
}

/// Why there is no log.
#[derive(Debug)]
pub enum LogError {
    /// The filter cannot be read.
    Filter {
        /// As it was given.
        filter: String,
        /// What is wrong with it.
        reason: ParseError,
    },
    /// Something else in the process has set one up already.
    SetAlready,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogError::Filter { filter, reason } => {
                write!(
                    f,
                    "cannot read the log filter `{filter}`: {reason}; give something like `info` or `info,kube=warn`"
                )
            }
            LogError::SetAlready => f.write_str("the log is set up already"),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LogError::Filter { reason, .. } => Some(reason),
            LogError::SetAlready => None,
        }
    }
}

/// Sets up the log of the process. The filter is a level, or levels by target: `info,kube=warn`.
pub fn init(format: Format, filter: &str) -> Result<(), LogError> {
    subscriber(format, filter, std::io::stderr)?.try_init().map_err(|_| LogError::SetAlready)
}

/// A log that is written somewhere.
fn subscriber<W>(format: Format, filter: &str, writer: W) -> Result<impl Subscriber + Send + Sync + 'static, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let levels =
        EnvFilter::builder().parse(filter).map_err(|reason| LogError::Filter { filter: filter.to_owned(), reason })?;
    // Without the last: a line that cannot be written would be complained about with a macro that
    // panics when it cannot write either.
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).log_internal_errors(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
        // Colours are for terminals, and the log of a container is read by something else.
        Format::Text => layer.with_ansi(false).boxed(),
        Format::Json => layer.json().with_current_span(false).with_span_list(false).boxed(),
    };
    Ok(tracing_subscriber::registry().with(layer.with_filter(levels)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, filter: &str, say: fn()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = subscriber(format, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, say);
        String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap()
    }

    fn say() {
        tracing::info!(target: "agent", generation = 7, policy = "shop/web", "committed");
        tracing::debug!(target: "agent", "not this one");
        tracing::warn!(target: "kube", "nor this one");
    }

    #[test]
    fn json_lines_have_time_level_target_and_fields() {
        let text = written(Format::Json, "info,kube=error", say);
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [line] = &lines[..] else { panic!("{text}") };
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "agent");
        let fields = serde_json::json!({"message": "committed", "generation": 7, "policy": "shop/web"});
        assert_eq!(line["fields"], fields);
    }

    #[test]
    fn text_lines_are_plain() {
        let text = written(Format::Text, "info,kube=error", say);
        assert!(text.trim_end().ends_with("INFO agent: committed generation=7 policy=\"shop/web\""), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_filter_that_makes_no_sense_is_named() {
        let wrong = subscriber(Format::Text, "info,kube=loud", io::sink).err().unwrap();
        assert!(wrong.to_string().starts_with("cannot read the log filter `info,kube=loud`: "), "{wrong}");
    }
}
