//! Finding datasets by their secondary entries: a join in the order of ids, which seeks and never walks over what it does
//! not show.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use engine::catalog::{Selected, Selection, Selector, Start};
use engine::entity::Dataset;
use engine::{Entity, Kind};
use protocol::id::DatasetId;

use super::IndexError;
use super::selectors::prefix;
use super::value::decode_value;

/// How often one question may seek, beside once for each selector. Beyond it the answer is short and says where to go on.
const SEEKS_MAX: usize = 20_000;

type Id = Vec<u8>;

/// Finds datasets. It blocks on the disk.
pub(super) fn select(database: &sled::Db, selection: &Selection) -> Result<Selected, IndexError> {
    let backwards = selection.start.is_backwards();
    let mut passed = match &selection.start {
        Start::First => None,
        Start::After(id) | Start::Before(id) => Some(id.as_str().as_bytes().to_vec()),
    };
    let mut seeks = Seeks { database, backwards, left: SEEKS_MAX };
    let mut unions = Vec::new();
    for selectors in &selection.all_of {
        unions.push(Union::new(&seeks, selectors, passed.as_ref())?);
    }
    let mut selected = Selected::default();
    loop {
        match meet(&mut seeks, &mut unions)? {
            Meeting::Nowhere => return Ok(selected),
            Meeting::Beyond(id) => {
                selected.more_from = Some(identifier(&id)?);
                return Ok(selected);
            }
            Meeting::At(id) => {
                if selected.datasets.len() >= selection.limit || seeks.left == 0 {
                    // INVARIANT: a limit or the last seek was reached after at least one id was passed.
                    selected.more_from = passed.as_deref().map(identifier).transpose()?;
                    return Ok(selected);
                }
                selected.datasets.extend(seeks.dataset(&id)?);
                for union in &mut unions {
                    union.pass(&mut seeks, &id)?;
                }
                passed = Some(id);
            }
        }
    }
}

/// Where several unions meet.
enum Meeting {
    /// All of them have this id.
    At(Id),
    /// No id up to this one is in all of them, and there were too many seeks to tell more.
    Beyond(Id),
    /// No further id is in all of them.
    Nowhere,
}

/// The next id that every union has.
fn meet(seeks: &mut Seeks<'_>, unions: &mut [Union]) -> Result<Meeting, IndexError> {
    loop {
        let heads: Option<Vec<&Id>> =
            unions.iter().map(|union| union.head(seeks.backwards)).collect();
        let Some(heads) = heads else { return Ok(Meeting::Nowhere) };
        let (Some(&least), Some(&greatest)) = (heads.iter().min(), heads.iter().max()) else {
            return Ok(Meeting::Nowhere);
        };
        if least == greatest {
            return Ok(Meeting::At(least.clone()));
        }
        let (nearest, farthest) =
            if seeks.backwards { (greatest, least) } else { (least, greatest) };
        if seeks.left == 0 {
            return Ok(Meeting::Beyond(nearest.clone()));
        }
        let farthest = farthest.clone();
        for union in unions.iter_mut() {
            union.seek(seeks, &farthest)?;
        }
    }
}

fn identifier(id: &[u8]) -> Result<DatasetId, IndexError> {
    let text = std::str::from_utf8(id).map_err(|_| IndexError::Value)?;
    DatasetId::new(text).map_err(|_| IndexError::Value)
}

/// Seeks in one direction, a bounded number of times.
struct Seeks<'a> {
    database: &'a sled::Db,
    backwards: bool,
    left: usize,
}

impl Seeks<'_> {
    /// The next id of an entry under a prefix, from an id on or beyond it.
    fn next(&self, prefix: &[u8], from: Bound<&Id>) -> Result<Option<Id>, IndexError> {
        let under = |id: &Id| [prefix, id.as_slice()].concat();
        let bound = match from {
            Bound::Included(id) => Bound::Included(under(id)),
            Bound::Excluded(id) => Bound::Excluded(under(id)),
            // No identifier has a byte that UTF-8 has not.
            Bound::Unbounded if self.backwards => Bound::Excluded(under(&vec![0xFF])),
            Bound::Unbounded => Bound::Included(prefix.to_vec()),
        };
        let found = if self.backwards {
            self.database.range((Bound::Unbounded, bound)).next_back()
        } else {
            self.database.range((bound, Bound::Unbounded)).next()
        };
        let Some(found) = found else { return Ok(None) };
        let (key, _) = found?;
        Ok(key.strip_prefix(prefix).map(<[u8]>::to_vec))
    }

    /// The dataset of an id, where it is offered.
    fn dataset(&mut self, id: &Id) -> Result<Option<Arc<Dataset>>, IndexError> {
        self.left = self.left.saturating_sub(1);
        let key = [&[Kind::Dataset as u8], id.as_slice()].concat();
        let Some(bytes) = self.database.get(&key)? else { return Ok(None) };
        match decode_value(&bytes)?.entity.as_ref() {
            Entity::Dataset(dataset) if dataset.is_available() => {
                Ok(Some(Arc::new(dataset.clone())))
            }
            _ => Ok(None),
        }
    }
}

/// The ids that are found by at least one of several selectors, in order.
struct Union {
    /// What the keys of the selectors' entries begin with.
    prefixes: Vec<Vec<u8>>,
    /// Ids that were asked for by themselves and are still ahead.
    ids: BTreeSet<Id>,
    /// The next id of each prefix, with the prefixes that have it.
    heads: BTreeMap<Id, Vec<usize>>,
}

impl Union {
    fn new(
        seeks: &Seeks<'_>,
        selectors: &BTreeSet<Selector>,
        passed: Option<&Id>,
    ) -> Result<Self, IndexError> {
        let ahead = |id: &Id| match passed {
            None => true,
            Some(passed) if seeks.backwards => id < passed,
            Some(passed) => id > passed,
        };
        let ids = selectors.iter().filter_map(|selector| match selector {
            Selector::Id(id) => Some(id.as_str().as_bytes().to_vec()),
            _ => None,
        });
        let mut union = Self {
            prefixes: selectors.iter().filter_map(prefix).collect(),
            ids: ids.filter(ahead).collect(),
            heads: BTreeMap::new(),
        };
        let from = passed.map_or(Bound::Unbounded, Bound::Excluded);
        for number in 0..union.prefixes.len() {
            union.advance(seeks, number, from)?;
        }
        Ok(union)
    }

    /// The next id.
    fn head(&self, backwards: bool) -> Option<&Id> {
        let ends = if backwards {
            [self.ids.last(), self.heads.last_key_value().map(|(id, _)| id)]
        } else {
            [self.ids.first(), self.heads.first_key_value().map(|(id, _)| id)]
        };
        let ends = ends.into_iter().flatten();
        if backwards { ends.max() } else { ends.min() }
    }

    /// Goes to an id, or to the next where it has none such.
    fn seek(&mut self, seeks: &mut Seeks<'_>, to: &Id) -> Result<(), IndexError> {
        self.go(seeks, to, Bound::Included(to))
    }

    /// Goes beyond an id.
    fn pass(&mut self, seeks: &mut Seeks<'_>, id: &Id) -> Result<(), IndexError> {
        self.ids.remove(id);
        self.go(seeks, id, Bound::Excluded(id))
    }

    fn go(&mut self, seeks: &mut Seeks<'_>, to: &Id, from: Bound<&Id>) -> Result<(), IndexError> {
        let stays = matches!(from, Bound::Included(_));
        // What is behind `to`, and `to` itself unless it stays.
        let behind =
            |id: &Id| (if seeks.backwards { id > to } else { id < to }) || (!stays && id == to);
        let ahead = self.ids.split_off(to);
        let has = ahead.contains(to);
        if !seeks.backwards {
            self.ids = ahead;
        }
        match has && stays {
            true => self.ids.insert(to.clone()),
            false => self.ids.remove(to),
        };
        let mut left = Vec::new();
        loop {
            let head =
                if seeks.backwards { self.heads.last_entry() } else { self.heads.first_entry() };
            match head {
                Some(head) if behind(head.key()) => left.extend(head.remove()),
                _ => break,
            }
        }
        for number in left {
            seeks.left = seeks.left.saturating_sub(1);
            self.advance(seeks, number, from)?;
        }
        Ok(())
    }

    fn advance(
        &mut self,
        seeks: &Seeks<'_>,
        number: usize,
        from: Bound<&Id>,
    ) -> Result<(), IndexError> {
        let Some(prefix) = self.prefixes.get(number) else { return Ok(()) };
        if let Some(id) = seeks.next(prefix, from)? {
            self.heads.entry(id).or_default().push(number);
        }
        Ok(())
    }
}
