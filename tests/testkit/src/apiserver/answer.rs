//! What a request gets.

use super::query::key_token;
use super::store::Key;
use super::watch::Watch;
use serde_json::{Value, json};

/// What a request gets.
pub enum Answer {
    /// A whole JSON document.
    Full { status: u16, body: Value },
    /// Text from something in front of the API server.
    Text { status: u16, text: String },
    /// A stream of changes.
    Watch(Box<Watch>),
    /// The connection is closed without a word.
    Nothing,
}

/// A document that was asked for.
pub fn full(body: Value) -> Answer {
    Answer::Full { status: 200, body }
}

/// A `Status` object, as the API server sends with every failure.
pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

/// A refusal.
pub fn failure(code: u16, reason: &str, message: &str) -> Answer {
    Answer::Full { status: code, body: status(code, reason, message) }
}

/// There is no such thing.
pub fn not_found() -> Answer {
    failure(404, "NotFound", "the server could not find the requested resource")
}

/// What the API server says of paths of a custom kind without a definition, in plain text.
pub fn no_such_path() -> Answer {
    Answer::Text { status: 404, text: "404 page not found\n".to_owned() }
}

/// The continue token is too old. The real server offers to go on without consistency.
pub fn expired_list() -> Answer {
    let message = "The provided continue parameter is too old to display a consistent list result.";
    let mut body = status(410, "Expired", message);
    body["metadata"] = json!({"continue": key_token(0, &Key::default())});
    Answer::Full { status: 410, body }
}

/// Too many requests at a time.
pub fn turned_away(seconds: u32) -> Answer {
    let mut body = status(429, "TooManyRequests", "too many requests, please try again later");
    body["details"] = json!({"retryAfterSeconds": seconds});
    Answer::Full { status: 429, body }
}

/// A revision that has not come yet.
pub fn too_large_revision(message: &str) -> Answer {
    let mut body = status(504, "Timeout", message);
    let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
    body["details"] = json!({"causes": [cause], "retryAfterSeconds": 1});
    Answer::Full { status: 504, body }
}
