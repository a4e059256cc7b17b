//! YAML output: the JSON answer, written as YAML.

use serde::Serialize;

/// The YAML of a value.
///
/// # Errors
/// When the value cannot be written, which would be a fault of netsim's own types.
pub fn to_string(value: &impl Serialize) -> std::io::Result<String> {
    serde_saphyr::to_string(value).map_err(std::io::Error::other)
}
