//! What is printed, one file a form.

pub mod answer_json;
pub mod answer_text;
pub mod connections;
pub mod diagnostics;
pub mod html;
pub mod picture;
pub mod style;
pub mod table;
pub mod yaml;
