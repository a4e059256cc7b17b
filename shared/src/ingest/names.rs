//! Help where names, and the fields that go with them, stand where they are not valid.
//!
//! Who writes `domainNames` into a NetworkPolicy needs the other kind, not another spelling.

use super::de::FitError;
use super::kind::Kind;
use super::yaml::Node;
use crate::object::Path;

/// The rule of `netsim lint` about names.
pub const RULE: &str = "NS037";

/// What to do about a field that is known elsewhere: names in a NetworkPolicy, or what only a NetworkPolicy has
/// in an EgressDomainPolicy.
pub fn misplaced(kind: Kind, object: &Node<'_>, error: &FitError) -> Option<String> {
    let (field, _) = error.message.strip_prefix("unknown field `")?.split_once('`')?;
    let within = |path: Path| {
        let (Some(at), Some(span)) = (object.at(&path.0), &error.span) else { return false };
        at.span.start <= span.start && span.end <= at.span.end
    };
    let is_names = matches!(field, "domainNames" | "domainName");
    let help = match (kind, field) {
        (Kind::NetworkPolicy, _) if is_names && within(Path::spec().key("ingress")) => {
            "names say where pods may go, never who may come: name sources by selectors or by `ipBlock`"
        }
        (Kind::NetworkPolicy, _) if is_names => {
            "a NetworkPolicy takes no names: write an EgressDomainPolicy of `netsim.dev/v1alpha1` for the same pods, \
             with this item and its ports; rules add up"
        }
        (Kind::EgressDomainPolicy, "ingress" | "from") => {
            "an EgressDomainPolicy is about egress and nothing else: write a NetworkPolicy for ingress"
        }
        (Kind::EgressDomainPolicy, "policyTypes") => {
            "take it out: an EgressDomainPolicy is always about egress, and about nothing else"
        }
        (Kind::EgressDomainPolicy, "podSelector" | "namespaceSelector" | "ipBlock") => {
            "an EgressDomainPolicy takes names only: allow this in a NetworkPolicy for the same pods; rules add up"
        }
        (Kind::EgressDomainPolicy, "domainNames") => {
            "names stand in an item of `to`: write `egress: [{to: [{domainNames: [api.example.com]}]}]`"
        }
        _ => return None,
    };
    Some(help.to_owned())
}
