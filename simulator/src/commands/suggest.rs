//! `netsim suggest`

use crate::Failure;
use crate::args::Suggest;
use crate::exit::Exit;
use crate::load::{LoadError, Loaded, load, text_of};
use crate::report::{diagnostics, output};
use netsim_shared::diagnostic::{Diagnostic, Place};
use netsim_shared::manifest::policy_yaml;
use netsim_shared::query::Resolver;
use netsim_shared::suggest::{Need, Suggestion, Wish, flows, needs_of, suggest};
use std::path::Path;

/// How many wrong lines of a list are told one by one.
const MAX_TOLD: usize = 20;

/// Writes the policies, and says what they do not make possible.
pub fn run(args: &Suggest) -> Result<Exit, Failure> {
    if args.flows.is_empty() && args.tests.is_empty() && !args.deny_only {
        let error = Diagnostic::error("no connection is named: a default-deny alone would cut them all");
        let help = "give --flows or --tests with what has to work, or --deny-only if nothing has to";
        return Err(LoadError(vec![error.help(help)]).into());
    }
    let suites = super::test::suites(&args.tests)?;
    let loaded = load(&args.input, &mut diagnostics::print)?;
    let default_namespace = args.input.default_namespace.as_str();
    let resolver = Resolver { index: &loaded.index, compiled: &loaded.compiled, default_namespace };
    let mut wrong = Vec::new();
    let mut needs = Vec::new();
    for suite in &suites {
        match suite.needs(&resolver) {
            Ok(found) => needs.extend(found),
            Err(diagnostics) => wrong.extend(diagnostics),
        }
    }
    let known = loaded.index.namespace_names();
    for namespace in &args.namespaces {
        if !known.contains(namespace.as_str()) {
            wrong.push(Diagnostic::error(format!("no namespace `{namespace}` in the input")));
        }
    }
    for file in &args.flows {
        needs.extend(of_flows(file, args, &resolver, &mut wrong)?);
    }
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(MAX_TOLD);
        wrong.truncate(MAX_TOLD);
        if more > 0 {
            wrong.push(Diagnostic::error(format!("{more} more lines of flows cannot be used")));
        }
        return Err(LoadError(wrong).into());
    }
    let wish = Wish { namespaces: &args.namespaces, dns: !args.no_dns, needs: &needs };
    let suggestion = suggest(&loaded.index, &loaded.compiled, &wish);
    let breaks = suggestion.unmet.iter().any(|unmet| unmet.works_today);
    if !breaks || args.keep_going {
        output::to(&args.out, |out| write(out, &suggestion))?;
    }
    let exit = tell(&loaded, &needs, &suggestion);
    if breaks && !args.keep_going {
        diagnostics::say("nothing was written: it would break what works today; --keep-going writes it all the same");
    }
    Ok(exit)
}

/// The needs of a list of flows.
fn of_flows(
    file: &Path,
    args: &Suggest,
    resolver: &Resolver<'_>,
    wrong: &mut Vec<Diagnostic>,
) -> Result<Vec<Need>, LoadError> {
    let (name, text) = text_of(file)?;
    let denied = if args.denied_flows { flows::Denied::Taken } else { flows::Denied::LeftOut };
    let read = flows::read(&text, denied);
    let place = |line: u32| Place { source: name.as_str().into(), line, column: 1, text: None, width: 1 };
    wrong.extend(read.bad.iter().map(|bad| Diagnostic::error(bad.message.clone()).at(place(bad.line))));
    if read.flows.is_empty() && read.bad.is_empty() {
        let error = Diagnostic::error(format!("`{name}` names no flow"));
        let help = "all of them were denied by the enforcer; --denied-flows takes these as well";
        wrong.push(if read.denied > 0 && read.left_out == 0 { error.help(help) } else { error });
    }
    let (mut needs, mut skipped) = (Vec::new(), 0);
    for flow in &read.flows {
        let by = format!("{name}:{}", flow.line);
        match needs_of(resolver, &flow.source, &flow.destination, flow.protocol, &by) {
            Ok(found) => needs.extend(found),
            Err(_) if args.skip_unknown => skipped += 1,
            Err(error) => {
                let help = error.help.unwrap_or_else(|| "--skip-unknown leaves such flows out".to_owned());
                wrong.push(Diagnostic::error(error.message).at(place(flow.line)).help(help));
            }
        }
    }
    if read.left_out > 0 {
        diagnostics::say(&format!("{name}: {} replies, dropped and other flows were left out", read.left_out));
    }
    if read.denied > 0 {
        let count = read.denied;
        diagnostics::say(&format!(
            "{name}: {count} flows that the enforcer denied were left out: --denied-flows takes them"
        ));
    }
    if skipped > 0 {
        diagnostics::say(&format!("{name}: {skipped} flows were left out: their ends are not in the input"));
    }
    Ok(needs)
}

fn write(out: &mut dyn std::io::Write, suggestion: &Suggestion) -> std::io::Result<()> {
    for (i, suggested) in suggestion.policies.iter().enumerate() {
        if i > 0 {
            writeln!(out, "---")?;
        }
        out.write_all(policy_yaml(&suggested.policy, &suggested.why).as_bytes())?;
    }
    Ok(())
}

/// Says on standard error what was done and what was not.
fn tell(loaded: &Loaded, needs: &[Need], suggestion: &Suggestion) -> Exit {
    for note in &suggestion.notes {
        diagnostics::say(&format!("note: {note}"));
    }
    for unmet in &suggestion.unmet {
        let would = if unmet.works_today { "would be denied" } else { "is denied today and stays so" };
        diagnostics::print(&Diagnostic::error(format!("{}: {} {would}: {}", unmet.by, unmet.need, unmet.why)));
    }
    let met = needs.len() - suggestion.unmet.len();
    let namespaces: std::collections::BTreeSet<&str> =
        suggestion.policies.iter().map(|suggested| suggested.policy.namespace.as_ref()).collect();
    let count = |n: usize, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    let policies = count(suggestion.policies.len(), "policy", "policies");
    let namespaces = count(namespaces.len(), "namespace", "namespaces");
    let named = count(needs.len(), "named connection", "named connections");
    let kept = if needs.is_empty() { String::new() } else { format!(": {met} of {named} allowed with them") };
    diagnostics::say(&format!("{policies} for {namespaces}{kept}"));
    let incomplete = diagnostics::incomplete(&loaded.index);
    match (suggestion.unmet.is_empty(), incomplete) {
        (false, _) => Exit::NotAllowed,
        (true, true) => Exit::Unknown,
        (true, false) => Exit::Ok,
    }
}
