//! What is printed, one file a form.

pub mod answer_json;
pub mod answer_text;
pub mod connections;
pub mod diagnostics;
pub mod difference;
pub mod findings;
pub mod html;
pub mod junit;
pub mod man;
pub mod output;
pub mod picture;
pub mod style;
pub mod summary;
pub mod table;
pub mod tap;
pub mod test_json;
pub mod test_text;
pub mod yaml;
