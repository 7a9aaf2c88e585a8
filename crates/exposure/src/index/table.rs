//! What was released, as it comes from a log: the part of the index that is not on disk yet.
//!
//! An [`Indexer`] takes one log's records in order and cuts them into *parts*: consecutive records of one UTC day, of at most
//! [`PART_TOUCHES_MAX`] touches. Where a part ends follows from the log alone, so an index that grew with its log and
//! one that was built again are the same. A part is *settled* when nothing can take back a release in it.

use super::run::pair;
use super::sort;
use ledger::bundle::TAKEN_BACK_WITHIN;
use ledger::record::{AccessBody, Body, Chain};
use ledger::{NodeEvent, Record};
use model::{
    ClassSet, ClientIp, CredentialId, Digest, GrantId, IntegrationId, Micros, OperationId, Outcome,
    Pseudonym, SubjectOrdinal, UnixMicros, VendorId,
};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

/// A part is cut before it has more touches than this, so that the one in memory takes some 50 MB at most.
pub const PART_TOUCHES_MAX: usize = if cfg!(test) { 12 } else { 1 << 22 };

/// Ordinals from here on stand for pseudonyms that no vault knew when they were indexed: their subjects were erased.
pub const NAMELESS: u32 = 1 << 31;

pub(super) const DAY: u64 = 86_400_000_000;

/// Who read, in the log's terms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Context {
    /// The integration.
    pub integration: IntegrationId,
    /// Its owner at that time.
    pub vendor: VendorId,
    /// With which key.
    pub credential: CredentialId,
    /// Under which grant.
    pub grant: Option<GrantId>,
    /// Which operation.
    pub operation: Option<OperationId>,
}

impl Context {
    /// Who read, as a record on the integration's chain has it.
    pub(crate) fn of(integration: IntegrationId, body: &AccessBody) -> Self {
        Self {
            integration,
            vendor: body.vendor,
            credential: body.credential,
            grant: body.grant,
            operation: body.operation.clone(),
        }
    }
}

/// A place where the record may lack something, as the node itself recorded it: the generation of the log before this one lost its end,
/// and what it recorded is in its own directory, as far as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The record that says so.
    pub record: u64,
    /// When it was recorded.
    pub time: UnixMicros,
}

/// One access record whose data was released.
#[derive(Clone, Debug)]
pub struct Release<'a> {
    /// Its index in the log.
    pub record: u64,
    /// Its leaf hash, by which it may be taken back.
    pub leaf: Digest,
    /// When.
    pub time: UnixMicros,
    /// Who read.
    pub context: &'a Context,
    /// From where.
    pub network: ClientIp,
    /// Whom, and which classes.
    pub touches: &'a [(SubjectOrdinal, ClassSet)],
}

/// Things numbered in order of first sight.
#[derive(Clone, Debug)]
pub(super) struct Numbering<T> {
    pub(super) items: Vec<T>,
    numbers: HashMap<T, u32, BuildHasherDefault<Mixed>>,
    /// By hash, the number of the last thing that had it: there are few different ones, so that most are found here.
    near: [u32; NEAR],
}

const NEAR: usize = 256;

impl<T> Default for Numbering<T> {
    fn default() -> Self {
        Self { items: Vec::new(), numbers: HashMap::default(), near: [0; NEAR] }
    }
}

/// A hash for keys that nobody outside can choose at will: sets of classes, contexts, addresses that proved a credential.
#[derive(Clone, Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    #[inline(always)]
    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    #[inline(always)]
    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    #[inline(always)]
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

impl<T: Clone + Eq + Hash> Numbering<T> {
    fn number(&mut self, item: &T) -> u32 {
        let hash = self.numbers.hasher().hash_one(item);
        let near = usize::try_from(hash >> 40).unwrap_or(0) % NEAR;
        if let Some(number) = self.near.get(near)
            && self.items.get(*number as usize) == Some(item)
        {
            return *number;
        }
        let number = self.numbers.get(item).copied().unwrap_or_else(|| self.add(item));
        if let Some(place) = self.near.get_mut(near) {
            *place = number;
        }
        number
    }

    fn add(&mut self, item: &T) -> u32 {
        let number = u32::try_from(self.items.len()).unwrap_or(u32::MAX);
        self.items.push(item.clone());
        self.numbers.insert(item.clone(), number);
        number
    }
}

/// One release in a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    pub(super) time: u64,
    pub(super) record: u64,
    pub(super) context: u32,
    pub(super) network: u32,
    /// Its touches end here; they begin where those of the row before end.
    pub(super) touches_end: u32,
    pub(super) taken_back: bool,
}

/// The releases of one part, in order of the log.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(super) first_record: u64,
    pub(super) end_record: u64,
    pub(super) end_leaf: Digest,
    pub(super) last_time: u64,
    /// Every ordinal with a name that the log has up to the end of the part is below this.
    pub(super) ordinals: u32,
    pub(super) contexts: Numbering<Context>,
    pub(super) networks: Numbering<ClientIp>,
    pub(super) sets: Numbering<ClassSet>,
    pub(super) rows: Vec<Row>,
    /// Ordinal and number of the set, as [`pair`].
    pub(super) touches: Vec<u64>,
    pub(super) nameless: Vec<Pseudonym>,
    pub(super) gaps: Vec<Gap>,
}

impl Table {
    fn begin(first_record: u64, ordinals: u32) -> Self {
        Self { first_record, end_record: first_record, ordinals, ..Self::default() }
    }

    /// The first record of the part, by its index in the log; it has every record up to the next part's first.
    pub const fn first_record(&self) -> u64 {
        self.first_record
    }

    /// Every ordinal that the vault knew when the log up to the end of this part was indexed is below this.
    pub const fn ordinals(&self) -> u32 {
        self.ordinals
    }

    /// The rows of a window that were not taken back, each with its touches.
    pub(super) fn rows_in(
        &self,
        from: UnixMicros,
        to: UnixMicros,
    ) -> impl Iterator<Item = (&Row, &[u64])> {
        let first = self.rows.partition_point(|row| row.time < from.0);
        let end = self.rows.partition_point(|row| row.time < to.0);
        (first..end).filter_map(|at| {
            let row = self.rows.get(at)?;
            let start = at.checked_sub(1).and_then(|before| self.rows.get(before));
            let start = start.map_or(0, |row| row.touches_end as usize);
            let touches = self.touches.get(start..row.touches_end as usize)?;
            (!row.taken_back).then_some((row, touches))
        })
    }
}

/// Takes one log's records in order. Calling order: [`Indexer::resume`], then [`Indexer::push`] for each record, and [`Indexer::settled`] until it gives none.
#[derive(Debug, Default)]
pub struct Indexer {
    /// Cut and not settled, in order. Shared with whoever answers a question: what changes meanwhile is a copy.
    closing: VecDeque<Arc<Table>>,
    open: Arc<Table>,
    /// Releases that can still be taken back.
    recent: VecDeque<Recent>,
    nameless: HashMap<Pseudonym, u32>,
    touches: Vec<(SubjectOrdinal, ClassSet)>,
}

#[derive(Debug)]
struct Recent {
    leaf: Digest,
    integration: IntegrationId,
    time: u64,
    record: u64,
}

impl Indexer {
    /// Goes on behind the parts that are on disk: with their pseudonyms without a subject, in order, the record that follows them, and
    /// what their ordinals are below.
    pub fn resume(next_record: u64, ordinals: u32, nameless: Vec<Pseudonym>) -> Self {
        let numbers = nameless.into_iter().zip(NAMELESS..).collect();
        let mut indexer = Self { nameless: numbers, ..Self::default() };
        indexer.open = Arc::new(Table::begin(next_record, ordinals));
        indexer
    }

    /// The index of the record that comes next.
    pub fn next_record(&self) -> u64 {
        self.open.end_record
    }

    /// Takes the log's next record. `ordinal_of` tells whose a pseudonym is in one of two quarters; `None` if the vault does not know it.
    ///
    /// # Panics
    /// If the record is not the next one: the index would lack what is between.
    pub fn push(
        &mut self,
        index: u64,
        record: &Record,
        mut ordinal_of: impl FnMut(&Pseudonym, u32) -> Option<SubjectOrdinal>,
    ) {
        self.advance(index, record.leaf, record.header.time);
        if let Body::Node(NodeEvent::Start { lost_checkpoint: Some(_) }) = &record.body {
            let gap = Gap { record: index, time: record.header.time };
            Arc::make_mut(&mut self.open).gaps.push(gap);
        }
        let Chain::Integration(integration) = record.header.chain else { return };
        if let Body::NotReleased { leaf, .. } = &record.body {
            self.take_back(leaf, integration);
        }
        let Body::Access(body) = &record.body else { return };
        if body.outcome != Outcome::Released {
            return;
        }
        let quarter = record.header.time.quarter();
        let mut touches = std::mem::take(&mut self.touches);
        touches.clear();
        let mut turning = false;
        for touch in &record.touches {
            // What was disclosed just before a quarter turned may be recorded just after it.
            let ordinal = ordinal_of(&touch.pseudonym, quarter).or_else(|| {
                let before = ordinal_of(&touch.pseudonym, quarter.saturating_sub(1));
                turning |= before.is_some();
                before
            });
            let ordinal = ordinal.unwrap_or_else(|| self.nameless(&touch.pseudonym));
            touches.push((ordinal, touch.classes));
        }
        if turning {
            // Of one person a record is one touch, whichever pseudonyms it names them by: see `crate::fold`.
            touches.sort_by_key(|(ordinal, _)| *ordinal);
            touches.dedup_by(|(next, more), (ordinal, classes)| {
                let same = next == ordinal;
                if same {
                    *classes = classes.union(more);
                }
                same
            });
        }
        let context = Context::of(integration, body);
        self.release(&Release {
            record: index,
            leaf: record.leaf,
            time: record.header.time,
            context: &context,
            network: body.network,
            touches: &touches,
        });
        self.touches = touches;
    }

    /// As [`Indexer::push`], of a release whose subjects are resolved already.
    ///
    /// # Panics
    /// As [`Indexer::push`].
    pub fn push_release(&mut self, release: &Release<'_>) {
        self.advance(release.record, release.leaf, release.time);
        self.release(release);
    }

    /// Takes a record that is no release.
    ///
    /// # Panics
    /// As [`Indexer::push`].
    pub fn pass(&mut self, index: u64, leaf: Digest, time: UnixMicros) {
        self.advance(index, leaf, time);
    }

    /// A part that nothing can change any more, oldest first. It is in no answer until its file is: keep it until then.
    pub fn settled(&mut self) -> Option<Arc<Table>> {
        let now = self.open.last_time;
        let safe = |table: &mut Arc<Table>| table.last_time + TAKEN_BACK_WITHIN.0 < now;
        self.closing.pop_front_if(safe)
    }

    /// The parts in memory, in order of the log.
    pub fn tail(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.closing.iter().chain(std::iter::once(&self.open))
    }

    /// Takes note that record `index` was recorded at `time`, and cuts the part where its day ends.
    fn advance(&mut self, index: u64, leaf: Digest, time: UnixMicros) {
        assert_eq!(index, self.open.end_record, "the index skips a record");
        let begun = self.open.end_record > self.open.first_record;
        let full = self.open.touches.len() >= PART_TOUCHES_MAX
            || self.open.end_record - self.open.first_record >= PART_TOUCHES_MAX as u64;
        if begun && (time.0 / DAY != self.open.last_time / DAY || full) {
            let mut next = Table::begin(index, self.open.ordinals);
            sort::make_room(&mut next.rows, self.open.rows.len());
            sort::make_room(&mut next.touches, self.open.touches.len());
            let mut closed = std::mem::replace(&mut self.open, Arc::new(next));
            if let Some(closed) = Arc::get_mut(&mut closed) {
                closed.touches.shrink_to_fit();
            }
            self.closing.push_back(closed);
        }
        let open = Arc::make_mut(&mut self.open);
        open.end_record = index + 1;
        open.end_leaf = leaf;
        open.last_time = time.0;
        let old = |recent: &mut Recent| recent.time + TAKEN_BACK_WITHIN.0 < time.0;
        while self.recent.pop_front_if(old).is_some() {}
    }

    fn release(&mut self, release: &Release<'_>) {
        let Release { record, leaf, time, context, network, touches } = *release;
        let open = Arc::make_mut(&mut self.open);
        open.touches.extend(
            touches.iter().map(|(ordinal, classes)| pair(ordinal.0, open.sets.number(classes))),
        );
        let named = touches.iter().map(|(ordinal, _)| ordinal.0).filter(|it| *it < NAMELESS);
        open.ordinals = named.fold(open.ordinals, |least, ordinal| least.max(ordinal + 1));
        let row = Row {
            time: time.0,
            record,
            context: open.contexts.number(context),
            network: open.networks.number(&network),
            touches_end: u32::try_from(open.touches.len()).unwrap_or(u32::MAX),
            taken_back: false,
        };
        open.rows.push(row);
        let integration = context.integration;
        self.recent.push_back(Recent { leaf, integration, time: time.0, record });
    }

    fn take_back(&mut self, leaf: &Digest, integration: IntegrationId) {
        let found = self.recent.iter().find(|recent| recent.leaf == *leaf);
        let Some(found) = found.filter(|recent| recent.integration == integration) else { return };
        for table in self.closing.iter_mut().chain(std::iter::once(&mut self.open)) {
            if let Ok(at) = table.rows.binary_search_by_key(&found.record, |row| row.record)
                && let Some(row) = Arc::make_mut(table).rows.get_mut(at)
            {
                row.taken_back = true;
            }
        }
    }

    fn nameless(&mut self, pseudonym: &Pseudonym) -> SubjectOrdinal {
        let next = NAMELESS + u32::try_from(self.nameless.len()).unwrap_or(NAMELESS);
        let number = *self.nameless.entry(*pseudonym).or_insert(next);
        if number == next {
            Arc::make_mut(&mut self.open).nameless.push(*pseudonym);
        }
        SubjectOrdinal(number)
    }
}

/// The hour a moment falls in, counted from the epoch.
pub(super) fn hour(time: u64) -> u32 {
    u32::try_from(time / Micros::from_secs(3_600).0).unwrap_or(u32::MAX)
}
