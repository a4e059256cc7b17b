//! What rules say with a packet that they log: all that cannot be seen in the packet itself, or that
//! may be otherwise by the time that it is read.

use netsim_shared::policy::Direction;

/// Which chain denied it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// That of what is known: policies that isolate a pod, or addresses without a name.
    Known,
    /// That of addresses which no pod was known to have.
    UnknownPod,
}

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Way {
    /// The way in which its connection was opened.
    Original,
    /// The other one.
    Reply,
    /// It belongs to no connection.
    Stray,
}

/// What is said with a logged packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag {
    /// The direction that denied.
    pub direction: Direction,
    /// Which chain it was.
    pub cause: Cause,
    /// Which way the packet goes.
    pub way: Way,
}

impl Tag {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Tag> {
        Direction::ALL.into_iter().flat_map(|direction| {
            [Cause::Known, Cause::UnknownPod].into_iter().flat_map(move |cause| {
                [Way::Original, Way::Reply, Way::Stray].map(move |way| Tag { direction, cause, way })
            })
        })
    }

    /// As the prefix of a log message, which others who read the group see as well.
    pub fn prefix(self) -> &'static str {
        match (self.direction, self.cause, self.way) {
            (Direction::Ingress, Cause::Known, Way::Original) => "ingress",
            (Direction::Ingress, Cause::Known, Way::Reply) => "ingress reply",
            (Direction::Ingress, Cause::Known, Way::Stray) => "ingress stray",
            (Direction::Ingress, Cause::UnknownPod, Way::Original) => "ingress unknown",
            (Direction::Ingress, Cause::UnknownPod, Way::Reply) => "ingress unknown reply",
            (Direction::Ingress, Cause::UnknownPod, Way::Stray) => "ingress unknown stray",
            (Direction::Egress, Cause::Known, Way::Original) => "egress",
            (Direction::Egress, Cause::Known, Way::Reply) => "egress reply",
            (Direction::Egress, Cause::Known, Way::Stray) => "egress stray",
            (Direction::Egress, Cause::UnknownPod, Way::Original) => "egress unknown",
            (Direction::Egress, Cause::UnknownPod, Way::Reply) => "egress unknown reply",
            (Direction::Egress, Cause::UnknownPod, Way::Stray) => "egress unknown stray",
        }
    }

    /// What a prefix says, if it is one of ours.
    pub fn read(prefix: &str) -> Option<Tag> {
        Tag::all().find(|tag| tag.prefix() == prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        assert_eq!(Tag::all().count(), 12);
        for tag in Tag::all() {
            assert_eq!(Tag::read(tag.prefix()), Some(tag));
        }
        assert_eq!(Tag::read("ingress of others"), None);
    }
}
