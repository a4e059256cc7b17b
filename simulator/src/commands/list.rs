//! `netsim list`

use crate::Failure;
use crate::args::{List, ListFormat};
use crate::commands::filter::Filter;
use crate::exit::Exit;
use crate::load::load;
use crate::report::connections::{self, Connections};
use crate::report::diagnostics;
use netsim_shared::list::Options;
use std::io::Write;

/// Lists the connections. An incomplete list ends with the code of what is unknown.
pub fn run(args: &List) -> Result<Exit, Failure> {
    let loaded = load(&args.input, &mut diagnostics::print)?;
    let filter = Filter::new(&args.filter, &loaded, &args.input.default_namespace)?;
    let listing = filter.list(&loaded, Options { expand: args.expand, outside: !args.no_outside });
    let connections = Connections { index: &loaded.index, listing: &listing, filter: &filter, expand: args.expand };
    let mut out = std::io::BufWriter::with_capacity(1 << 16, anstream::stdout().lock());
    let unknown = match args.output {
        ListFormat::Text => connections::text(&mut out, &connections)?,
        // Nothing in these has colours: no need to look for them.
        format => {
            let mut out = std::io::BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
            let unknown = match format {
                ListFormat::Json => connections::json(&mut out, &connections)?,
                ListFormat::Csv => connections::csv(&mut out, &connections)?,
                ListFormat::Md => connections::markdown(&mut out, &connections)?,
                ListFormat::Dot | ListFormat::Text => connections::dot(&mut out, &connections)?,
            };
            out.flush()?;
            unknown
        }
    };
    out.flush()?;
    drop(out);
    Ok(connections.finish(unknown))
}
