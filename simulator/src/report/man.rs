//! Man pages, from the command line.

use clap::Command;
use clap_mangen::Man;
use std::io::{self, Write};

/// The pages of a built program: one for itself and one for each command that is shown, with the names of their files.
pub fn pages(program: &Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let names: Vec<String> = program.get_subcommands().filter(shown).map(|c| page_name(program, Some(c))).collect();
    let mut pages = vec![page(program, &page_name(program, None), &names)?];
    for command in program.get_subcommands().filter(shown) {
        let also = [page_name(program, None)];
        pages.push(page(command, &page_name(program, Some(command)), &also)?);
    }
    Ok(pages)
}

fn page_name(program: &Command, command: Option<&Command>) -> String {
    let name = program.get_name();
    command.map_or(name.to_owned(), |command| format!("{name}-{}", command.get_name()))
}

fn page(command: &Command, name: &str, see_also: &[String]) -> io::Result<(String, Vec<u8>)> {
    let version = command.get_version().unwrap_or(env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name).source(format!("netsim {version}")).manual("netsim");
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(&mut out)?;
    }
    if let Some(text) = command.get_after_long_help().or(command.get_after_help()) {
        after_help(&text.to_string(), &mut out)?;
    }
    writeln!(out, ".SH \"SEE ALSO\"")?;
    let names: Vec<String> = see_also.iter().map(|name| format!("\\fB{}\\fR(1)", escaped(name))).collect();
    writeln!(out, "{}", names.join(", "))?;
    Ok((format!("{name}.1"), out))
}

/// The text behind the options: a line that ends with a colon heads what is indented below it, which keeps its lines.
fn after_help(text: &str, out: &mut Vec<u8>) -> io::Result<()> {
    let mut lines = text.lines().peekable();
    let mut headed = false;
    while let Some(line) = lines.next() {
        let indented = |line: &&str| line.starts_with("  ");
        match line.strip_suffix(':') {
            Some(heading) if lines.peek().is_some_and(indented) => {
                writeln!(out, ".SH \"{}\"\n.nf", escaped(&heading.to_uppercase()))?;
                while let Some(line) = lines.next_if(indented) {
                    writeln!(out, "{}", escaped(line.strip_prefix("  ").unwrap_or(line)))?;
                }
                writeln!(out, ".fi")?;
                headed = true;
            }
            _ if line.trim().is_empty() => {}
            _ => {
                writeln!(out, "{}\n{}", if headed { ".PP" } else { ".SH NOTES" }, escaped(line))?;
                headed = true;
            }
        }
    }
    Ok(())
}

/// Text in which nothing is a request of roff, and every dash can be copied as one.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_keep_their_lines() {
        let mut out = Vec::new();
        after_help("A note.\n\nExamples:\n  a -b 'c'\n  .d \\e\nThe end.", &mut out).unwrap();
        let page = String::from_utf8(out).unwrap();
        assert_eq!(
            page,
            ".SH NOTES\nA note.\n.SH \"EXAMPLES\"\n.nf\na \\-b \\(aqc\\(aq\n\\&.d \\ee\n.fi\n.PP\nThe end.\n"
        );
    }
}
