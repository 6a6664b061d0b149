//! Records in the order of the journal, read from several logs at once: from either end, and from any place on.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use engine::{Position, TreeId};
use store::StoredRecord;

use super::super::answer::ApiError;
use crate::node::Node;

/// How many records of a log are read at first, and at most at once: of many logs most give little to a page.
const STEP_MIN: u64 = 8;
const STEP_MAX: u64 = 256;

/// From which end the journal is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    OldestFirst,
    NewestFirst,
}

/// One log in one epoch: what was read of it, and the indexes that were not.
struct Lane {
    tree: TreeId,
    left: Range<u64>,
    step: u64,
    read: VecDeque<StoredRecord>,
}

/// Goes through logs, each record once, in the order of the journal.
pub(super) struct Search<'a> {
    node: &'a Node,
    reading: Reading,
    lanes: Vec<Lane>,
    /// The lane whose next record is at a position.
    heads: BTreeMap<Position, usize>,
}

impl<'a> Search<'a> {
    /// Begins with these parts of logs, behind a position as it is read.
    pub(super) async fn open(
        node: &'a Node,
        parts: &[(TreeId, Range<u64>)],
        reading: Reading,
        behind: Option<Position>,
    ) -> Result<Self, ApiError> {
        let mut search = Self { node, reading, lanes: Vec::new(), heads: BTreeMap::new() };
        for (tree, part) in parts {
            let left = match behind {
                None => part.clone(),
                Some(place) => search.behind(tree, part, place).await?,
            };
            let lane = Lane { tree: tree.clone(), left, step: STEP_MIN, read: VecDeque::new() };
            search.lanes.push(lane);
            search.show_head(search.lanes.len() - 1).await?;
        }
        Ok(search)
    }

    /// The next record; nothing after the last.
    pub(super) async fn next(&mut self) -> Result<Option<StoredRecord>, ApiError> {
        let head = match self.reading {
            Reading::OldestFirst => self.heads.pop_first(),
            Reading::NewestFirst => self.heads.pop_last(),
        };
        let Some((_, number)) = head else { return Ok(None) };
        let record = self.lanes.get_mut(number).and_then(|lane| lane.read.pop_front());
        self.show_head(number).await?;
        Ok(record)
    }

    /// The part of a part that is read after a position.
    async fn behind(
        &self,
        tree: &TreeId,
        part: &Range<u64>,
        place: Position,
    ) -> Result<Range<u64>, ApiError> {
        let (mut low, mut high) = (part.start, part.end);
        // The first record that is not before the place; behind it where the oldest come first.
        while low < high {
            let middle = low.midpoint(high);
            let record = self.node.store.records(tree.clone(), middle..middle + 1).await?;
            let is_before = record.first().is_some_and(|record| match self.reading {
                Reading::OldestFirst => record.position <= place,
                Reading::NewestFirst => record.position < place,
            });
            if is_before { low = middle + 1 } else { high = middle }
        }
        Ok(match self.reading {
            Reading::OldestFirst => low..part.end,
            Reading::NewestFirst => part.start..low,
        })
    }

    /// Reads on in a lane where that is needed, and notes the position of its next record.
    async fn show_head(&mut self, number: usize) -> Result<(), ApiError> {
        let Some(lane) = self.lanes.get_mut(number) else { return Ok(()) };
        if lane.read.is_empty() && !lane.left.is_empty() {
            let Range { start, end } = lane.left;
            let range = match self.reading {
                Reading::OldestFirst => start..end.min(start + lane.step),
                Reading::NewestFirst => start.max(end.saturating_sub(lane.step))..end,
            };
            let page = self.node.store.records(lane.tree.clone(), range.clone()).await?;
            match self.reading {
                Reading::OldestFirst => {
                    lane.left.start = range.end;
                    lane.read.extend(page);
                }
                Reading::NewestFirst => {
                    lane.left.end = range.start;
                    lane.read.extend(page.into_iter().rev());
                }
            }
            lane.step = (lane.step * 2).min(STEP_MAX);
        }
        if let Some(record) = lane.read.front() {
            self.heads.insert(record.position, number);
        }
        Ok(())
    }
}
