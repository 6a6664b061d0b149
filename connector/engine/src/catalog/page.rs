//! One page of a partner's catalog: what to look for, what of it is shown, and where the pages beside it begin.
//!
//! Where the partner may see few policies, only the datasets under them are looked for. Where it may see many, chances are
//! that it sees what comes next whatever that is; so the next datasets are looked at first, up to a number, and only where they
//! do not fill the page those under its policies are looked for. So neither many datasets nor many policies are walked over.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::id::DatasetId;
use protocol::message;

use super::{Query, Reader, Selected, Selection, Selector, Start};
use crate::context::Context;
use crate::derived::Lapsed;
use crate::{entity, judge};

/// Beyond so many visible policies the next datasets are looked at before those under the policies are looked for.
const POLICIES_MANY: usize = 64;
/// How many of the next datasets are looked at.
const NEXT_LOOKED_AT: usize = 400;

/// How many of the datasets that are left out are looked for at once.
const LEFT_OUT_AT_ONCE: usize = 500;

/// How much a page has at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Datasets that it shows.
    pub datasets: usize,
    /// Bytes of its entries, but for the last of them.
    pub bytes: usize,
    /// Datasets that are looked at: beyond it, and where the index has sought as long as it may for one question, the page is
    /// short, or empty, and its link leads on.
    pub looked_at: usize,
}

/// Where a page beside another begins (RFC 8288).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// What it is to that one: `next` or `previous`.
    pub relation: &'static str,
    /// Its place.
    pub start: Start,
    /// What it is a page of.
    pub query: Query,
}

/// A part of the catalog, in the order of ids.
#[derive(Debug)]
pub struct Page<'a> {
    reader: &'a mut Reader,
    context: &'a Context,
    query: &'a Query,
    extent: Extent,
    start: Start,
    /// How many of the next entries are left out.
    offset: usize,
    /// What is to be found next; nothing once the page is whole.
    wanted: Option<Selection>,
    /// Whether only what is under a visible policy is wanted.
    under_policies: bool,
    looked_at: usize,
    bytes: usize,
    entries: Vec<(Arc<entity::Dataset>, message::Dataset)>,
    /// The id up to which was looked, where there may be more beyond it.
    more_from: Option<DatasetId>,
}

impl<'a> Page<'a> {
    /// An empty page, which wants its first datasets.
    pub fn new(
        reader: &'a mut Reader,
        context: &'a Context,
        query: &'a Query,
        start: Start,
        extent: Extent,
    ) -> Self {
        let extent = Extent {
            datasets: query.limit.map_or(extent.datasets, |limit| limit.min(extent.datasets)),
            looked_at: extent.looked_at.saturating_add(query.offset),
            ..extent
        };
        let subject = judge::subject(&reader.partner);
        let under_policies = {
            let mut policies = reader.rules.set.visible_to(&subject, judge::ACTION);
            policies.nth(POLICIES_MANY).is_none()
        };
        let mut page = Self {
            reader,
            context,
            query,
            extent,
            start: start.clone(),
            offset: query.offset,
            wanted: None,
            under_policies,
            looked_at: 0,
            bytes: 0,
            entries: Vec::new(),
            more_from: None,
        };
        page.wanted = Some(page.selection(start));
        page
    }

    /// What is to be found in the index for it; nothing once it is whole.
    pub fn wanted(&self) -> Option<&Selection> {
        self.wanted.as_ref()
    }

    /// Takes what was found: that of it which the partner may see and the filter admits. `lapsed` are the agreements that
    /// ended, among those on which it depends ([`crate::derived::lapsed`]).
    pub fn take(&mut self, selected: Selected, lapsed: Lapsed) {
        let Some(wanted) = self.wanted.take() else { return };
        self.reader.lapsed.extend(lapsed);
        let found = selected.datasets.len();
        self.looked_at = self.looked_at.saturating_add(found);
        self.more_from = selected.more_from;
        for (number, dataset) in selected.datasets.into_iter().enumerate() {
            if self.query.filter.admits(&dataset)
                && let Some(entry) = self.reader.entry(self.context, &dataset)
            {
                if self.offset > 0 {
                    self.offset -= 1;
                    continue;
                }
                self.bytes = self.bytes.saturating_add(message::to_bytes(&entry, None).len());
                self.entries.push((Arc::clone(&dataset), entry));
            }
            if self.is_full() && number.saturating_add(1) < found {
                self.more_from = Some(dataset.id.clone());
                break;
            }
        }
        // Fewer than were asked for, and yet there may be more: the index sought as long as it may.
        let is_spent = found < wanted.limit || self.looked_at >= self.extent.looked_at;
        match self.more_from.clone() {
            Some(id) if !self.is_full() && !is_spent => {
                self.under_policies |= self.looked_at >= NEXT_LOOKED_AT;
                let beside = if wanted.start.is_backwards() { Start::Before } else { Start::After };
                self.wanted = Some(self.selection(beside(id)));
            }
            _ if wanted.start.is_backwards() => self.entries.reverse(),
            _ => {}
        }
    }

    /// The pages beside this one (the relations are those that DSP 2025-1 names).
    pub fn links(&self) -> Vec<Link> {
        let first = self.entries.first().map(|(dataset, _)| dataset.id.clone());
        let last = self.entries.last().map(|(dataset, _)| dataset.id.clone());
        let (next, previous) = match &self.start {
            Start::First => (self.more_from.clone().map(Start::After), None),
            Start::After(_) => (self.more_from.clone().map(Start::After), first.map(Start::Before)),
            // Behind a page that was reached backwards there is the one from which it was.
            Start::Before(_) => (
                Some(last.map_or(Start::First, Start::After)),
                self.more_from.clone().map(Start::Before),
            ),
        };
        let link = |relation, start, offset| Link {
            relation,
            start,
            query: Query { offset, ..self.query.clone() },
        };
        // Where not all that is to be left out was met, the next page goes on leaving out.
        let next = next.map(|start| link("next", start, self.offset));
        next.into_iter().chain(previous.map(|start| link("previous", start, 0))).collect()
    }

    /// The datasets of the page with their entries.
    pub fn into_entries(self) -> Vec<(Arc<entity::Dataset>, message::Dataset)> {
        self.entries
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.extent.datasets || self.bytes >= self.extent.bytes
    }

    fn selection(&self, start: Start) -> Selection {
        let mut all_of: Vec<BTreeSet<Selector>> = self.query.filter.selectors().collect();
        if self.under_policies {
            all_of.push(self.offered());
        } else if all_of.is_empty() {
            all_of.push(BTreeSet::from([Selector::Any]));
        }
        Selection {
            all_of,
            start,
            limit: self.extent.datasets.saturating_add(self.offset.min(LEFT_OUT_AT_ONCE)),
        }
    }

    /// By what the datasets are found that a policy with the partner in its audience offers.
    fn offered(&self) -> BTreeSet<Selector> {
        let subject = judge::subject(&self.reader.partner);
        let mut offered = BTreeSet::new();
        for policy in self.reader.rules.set.visible_to(&subject, judge::ACTION) {
            let ids = policy.datasets.iter().filter_map(|id| DatasetId::new(id).ok());
            offered.extend(ids.map(Selector::Id));
            offered.extend(policy.tags.iter().cloned().map(Selector::Tag));
            offered.insert(Selector::Policy(policy.name.clone()));
        }
        offered
    }
}
