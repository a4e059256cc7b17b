//! `netsim matrix`

use crate::Failure;
use crate::args::{Matrix, MatrixFormat};
use crate::commands::filter::Filter;
use crate::exit::Exit;
use crate::load::load;
use crate::report::connections::Connections;
use crate::report::{diagnostics, table};
use netsim_shared::list::Options;
use std::io::Write;

/// Shows the table.
pub fn run(args: &Matrix) -> Result<Exit, Failure> {
    let loaded = load(&args.input, &mut diagnostics::print)?;
    let filter = Filter::new(&args.filter, &loaded, &args.input.default_namespace)?;
    let listing = filter.list(&loaded, Options { expand: args.expand, outside: args.outside });
    let connections = Connections { index: &loaded.index, listing: &listing, filter: &filter, expand: args.expand };
    let (table, unknown) = table::Table::of(&connections);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    match args.output {
        MatrixFormat::Text => table.text(&mut out)?,
        MatrixFormat::Json => table.json(&mut out, &connections)?,
        MatrixFormat::Csv => table.csv(&mut out)?,
        MatrixFormat::Md => table.markdown(&mut out)?,
    }
    out.flush()?;
    Ok(connections.finish(unknown))
}
