//! One side of a difference: its relations, worked out, and what each class is.

use crate::compile::side::{GroupId, PeerClass};
use crate::compile::{Compiled, EndpointId};
use crate::evaluate::Addresses;
use crate::list::{InRole, Worked, relations_of};
use crate::net::Family;
use crate::relation::{ClassId, Relation};

/// The group that isolates the members of a class, and what they are to the rules of the other role.
pub(super) type ClassKey = (GroupId, PeerClass);

/// One side.
pub(super) struct Side<'c> {
    pub(super) compiled: &'c Compiled,
    /// The relations, and beside each what its classes are.
    pub(super) worked: Vec<Worked>,
    pub(super) classes: Vec<Classes>,
}

/// The classes of a relation.
pub(super) struct Classes {
    /// The class of each destination.
    pub(super) destination: InRole,
    pub(super) source_keys: Vec<ClassKey>,
    pub(super) destination_keys: Vec<ClassKey>,
}

/// Where the relations of a family are among all of a side: with what is sure, and with what may be.
#[derive(Clone, Copy)]
pub(super) struct Places {
    pub(super) surely: usize,
    pub(super) maybe: Option<usize>,
}

impl<'c> Side<'c> {
    pub(super) fn new(compiled: &'c Compiled) -> Self {
        let (mut worked, mut classes) = (Vec::new(), Vec::new());
        for (family, addresses) in relations_of(compiled) {
            let relation = Relation::new(compiled, family, addresses);
            worked.push(Worked::new(&relation, addresses));
            classes.push(Classes {
                destination: InRole::new(&relation.destinations, |class| class),
                source_keys: relation.sources.keys().to_vec(),
                destination_keys: relation.destinations.keys().to_vec(),
            });
        }
        Side { compiled, worked, classes }
    }

    /// The relations of a family.
    pub(super) fn places(&self, family: Family) -> Option<Places> {
        let of = |kind| self.worked.iter().position(|w| w.family == family && w.addresses == kind);
        Some(Places { surely: of(Addresses::Surely)?, maybe: of(Addresses::Maybe) })
    }

    /// The relations of some families, in their order.
    pub(super) fn among<'s>(&'s self, families: &'s [Family]) -> impl Iterator<Item = usize> + 's {
        self.worked.iter().enumerate().filter(|(_, w)| families.contains(&w.family)).map(|(at, _)| at)
    }

    /// The class of an endpoint as a source, in each relation that is named.
    pub(super) fn source_classes(&self, id: EndpointId, relations: &[usize]) -> Vec<Option<ClassId>> {
        relations.iter().map(|at| self.worked.get(*at).and_then(|w| w.source.of(id))).collect()
    }

    /// The class of an endpoint as a destination, in each relation that is named.
    pub(super) fn destination_classes(&self, id: EndpointId, relations: &[usize]) -> Vec<Option<ClassId>> {
        relations.iter().map(|at| self.classes.get(*at).and_then(|c| c.destination.of(id))).collect()
    }

    /// The row of a class of destinations.
    pub(super) fn row(&self, relation: usize, class: ClassId) -> Option<u32> {
        self.worked.get(relation)?.row_of_class.get(class as usize).copied()
    }
}
