//! The tables of legacy iptables, which only its own program can list.

use super::foreign::{Chain, Drops, Foreign, Table};
use super::sysctl::{THREAD_NET, read_optional};
use std::collections::BTreeSet;
use std::path::Path;

/// Which tables legacy iptables has is asked of the kernel first: its program would register the
/// tables that it lists.
pub(super) fn list(ipv6: bool, foreign: &mut Foreign) {
    let names = if ipv6 { "ip6_tables_names" } else { "ip_tables_names" };
    let tables = match read_optional(&Path::new(THREAD_NET).join(names)) {
        Ok(tables) => tables.unwrap_or_default(),
        Err(error) => {
            let table = Table::Legacy { ipv6, name: "filter".to_owned() };
            foreign.unlisted.push((table, format!("cannot read `{names}`: {error}")));
            return;
        }
    };
    let tables: BTreeSet<&str> = tables.lines().filter(|name| matches!(*name, "filter" | "raw")).collect();
    for name in tables {
        let table = Table::Legacy { ipv6, name: name.to_owned() };
        match run(ipv6, name) {
            Ok(rules) => foreign.chains.extend(read(&table, &rules)),
            Err(reason) => foreign.unlisted.push((table, reason)),
        }
    }
}

/// The rules of a table as `-S` prints them. `iptables` may be the program of either variant.
fn run(ipv6: bool, table: &str) -> Result<String, String> {
    let mut program = iptables::new(ipv6).map_err(|error| match error.downcast_ref::<std::io::Error>() {
        Some(error) if error.kind() == std::io::ErrorKind::NotFound => "there is no `iptables` program".to_owned(),
        _ => format!("`iptables --version` failed: {error}"),
    })?;
    let version = program.execute(table, "--version").map_err(|error| error.to_string())?;
    if String::from_utf8_lossy(&version.stdout).contains("nf_tables") {
        program.cmd = if ipv6 { "ip6tables-legacy" } else { "iptables-legacy" };
    }
    let listed =
        program.execute(table, "-S").map_err(|error| format!("`{} -t {table} -S` failed: {error}", program.cmd))?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr);
        return Err(format!("`{} -t {table} -S` failed: {}", program.cmd, said.trim()));
    }
    Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
}

/// Chains from the lines of `-S`: `-P chain policy`, `-N chain`, `-A chain rule…`.
fn read(table: &Table, rules: &str) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    for line in rules.lines() {
        let mut words = line.split_whitespace();
        let (Some(command), Some(name)) = (words.next(), words.next()) else { continue };
        let rest: Vec<&str> = words.collect();
        let filters = name == "FORWARD" && matches!(table, Table::Legacy { name, .. } if name == "filter");
        match command {
            "-P" | "-N" => chains.push(Chain {
                table: table.clone(),
                name: name.to_owned(),
                drops_forwarded: (filters && rest.first() == Some(&"DROP")).then_some(Drops::ByPolicy),
                untracks: false,
            }),
            "-A" => {
                let Some(chain) = chains.iter_mut().find(|chain| chain.name == name) else { continue };
                chain.untracks |= matches!(*rest, [.., "-j", "NOTRACK"] | [.., "-j", "CT", "--notrack"]);
                if filters && chain.drops_forwarded != Some(Drops::ByPolicy) {
                    // Only the last rule counts: one after it takes it back.
                    let drops = matches!(*rest, ["-j", "DROP"] | ["-j", "REJECT", ..]);
                    chain.drops_forwarded = drops.then_some(Drops::ByLastRule);
                }
            }
            _ => {}
        }
    }
    chains
}

#[cfg(test)]
mod tests {
    use super::*;

    fn legacy(name: &str) -> Table {
        Table::Legacy { ipv6: false, name: name.to_owned() }
    }

    fn summary(table: &str, rules: &str) -> Vec<(String, Option<Drops>, bool)> {
        let read = read(&legacy(table), rules);
        read.into_iter().map(|chain| (chain.name, chain.drops_forwarded, chain.untracks)).collect()
    }

    #[test]
    fn legacy_listings_are_read() {
        let rules = "-P INPUT DROP\n-P FORWARD DROP\n-N cali-FORWARD\n-A FORWARD -j cali-FORWARD\n";
        assert_eq!(
            summary("filter", rules),
            [
                ("INPUT".to_owned(), None, false),
                ("FORWARD".to_owned(), Some(Drops::ByPolicy), false),
                ("cali-FORWARD".to_owned(), None, false),
            ]
        );
        let rejects = "-P FORWARD ACCEPT\n-A FORWARD -i eth0 -j ACCEPT\n-A FORWARD -j REJECT --reject-with x\n";
        assert_eq!(summary("filter", rejects), [("FORWARD".to_owned(), Some(Drops::ByLastRule), false)]);
        let undone = format!("{rejects}-A FORWARD -j ACCEPT\n");
        assert_eq!(summary("filter", &undone), [("FORWARD".to_owned(), None, false)]);
        let some = "-P FORWARD ACCEPT\n-A FORWARD -s 10.0.0.0/8 -j DROP\n";
        assert_eq!(summary("filter", some), [("FORWARD".to_owned(), None, false)]);
    }

    #[test]
    fn legacy_exemptions_from_tracking_are_seen_and_policies_of_other_tables_are_not_ours() {
        let rules = "-P PREROUTING ACCEPT\n-P FORWARD DROP\n-N X\n-A X -p udp -j CT --notrack\n-A PREROUTING -j X\n";
        assert_eq!(
            summary("raw", rules),
            [("PREROUTING".to_owned(), None, false), ("FORWARD".to_owned(), None, false), ("X".to_owned(), None, true),]
        );
        assert_eq!(summary("raw", "\n-A lost -j DROP\nnonsense\n"), []);
    }
}
