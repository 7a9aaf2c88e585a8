//! One file of the index: sections of data, then a footer that says what lies where. `docs/index-format.md` is the format.
//!
//! The footer is held in memory while the file is open; data is read when it is asked for, and checked against its checksum.

use super::masks::{Masks, SetList};
use super::run;
use super::table::{Context, Gap, GapCause};
use super::{ReadRange, Unreadable};
use model::{
    ClassSet, ClientIp, CredentialId, Digest, GrantId, IntegrationId, OperationId, Pseudonym,
    UnixMicros, VendorId,
};

const MAGIC: [u8; 8] = *b"PCINDX\x00\x02";
/// Length and checksum of the footer, magic.
const END: usize = 16;

/// What a file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Span {
    /// A part: consecutive records of one UTC day. Has hours, the day, touches, postings.
    Part,
    /// Seven days; the number of days since the epoch is divided by seven.
    Week,
    /// Thirty days, alike.
    Month,
}

/// How long a run's bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Length {
    Hour,
    Day,
    Week,
    Month,
}

impl Length {
    const fn number(self) -> u8 {
        match self {
            Self::Hour => 0,
            Self::Day => 1,
            Self::Week => 2,
            Self::Month => 3,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Hour,
            1 => Self::Day,
            2 => Self::Week,
            3 => Self::Month,
            _ => return None,
        })
    }
}

/// Whose run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// Every integration's together.
    All,
    /// The integration with this place in the file's list.
    One(u32),
    /// The network with this place in the file's list, whichever integration read from there.
    Network(u32),
}

/// Where some bytes lie, and their checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) bytes: u32,
    pub(super) crc: u32,
}

/// One run: a bucket of time and what was read in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunInfo {
    pub(super) length: Length,
    pub(super) whose: Whose,
    /// The bucket's number: hours, days, weeks or months since the epoch.
    pub(super) bucket: u32,
    pub(super) at: Extent,
    /// Subjects in its blocks; 0 if only the head is kept.
    pub(super) subjects: u32,
}

/// One block of releases of one integration in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockInfo {
    pub(super) integration: u32,
    pub(super) at: Extent,
    pub(super) rows: u32,
    pub(super) touches: u32,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// From one network: which blocks have releases to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NetworkInfo {
    pub(super) network: ClientIp,
    pub(super) at: Extent,
}

/// Where subjects' postings lie. See [`super::postings`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PostingsInfo {
    pub(super) at: u64,
    pub(super) bytes: u64,
    /// The lowest bits of an ordinal, which stand in the posting; the rest is its bucket.
    pub(super) low_bits: u8,
    pub(super) block_bits: u8,
    pub(super) buckets: u32,
    /// Checksum of where the buckets begin.
    pub(super) table_crc: u32,
}

/// What lies in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) span: Span,
    /// Records of the log that it covers.
    pub(super) first_record: u64,
    pub(super) end_record: u64,
    /// Leaf hash of the last of them, by which a file is known to be of another log.
    pub(super) end_leaf: Digest,
    /// Days since the epoch: the part's day, or the first of the week or month.
    pub(super) day: u32,
    pub(super) integrations: Vec<IntegrationId>,
    pub(super) sets: Vec<ClassSet>,
    pub(super) contexts: Vec<Context>,
    /// Sorted by length, whose, bucket.
    pub(super) runs: Vec<RunInfo>,
    /// Sorted by integration and time.
    pub(super) blocks: Vec<BlockInfo>,
    /// Sorted by network; blocks name a network by its place here.
    pub(super) networks: Vec<NetworkInfo>,
    pub(super) postings: PostingsInfo,
    pub(super) nameless: Vec<Pseudonym>,
    pub(super) gaps: Vec<Gap>,
}

/// Bytes of a file by what they serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Runs and the footer: what answers who and what.
    pub runs: u64,
    /// Releases with their touches: what answers when, how often, by which key, from where.
    pub touches: u64,
    /// Where to find a subject.
    pub postings: u64,
}

impl std::ops::AddAssign for Sizes {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.touches += other.touches;
        self.postings += other.postings;
    }
}

impl Footer {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let mut w = Out(out);
        w.u8(match self.span {
            Span::Part => 0,
            Span::Week => 1,
            Span::Month => 2,
        });
        w.u64(self.first_record);
        w.u64(self.end_record);
        w.bytes(&self.end_leaf);
        w.u32(self.day);
        w.list(&self.integrations, |w, id| w.bytes(id.as_bytes()));
        w.list(&self.sets, |w, set| w.short(&set.to_bytes()));
        w.list(&self.contexts, |w, context| {
            w.bytes(context.integration.as_bytes());
            w.bytes(context.vendor.as_bytes());
            w.bytes(context.credential.as_bytes());
            w.short(context.grant.as_ref().map_or(&[], |id| id.as_bytes()));
            w.short(context.operation.as_ref().map_or(&[], |id| id.as_str().as_bytes()));
        });
        w.list(&self.runs, |w, run| {
            w.u8(run.length.number());
            let (kind, place) = match run.whose {
                Whose::All => (0, 0),
                Whose::One(place) => (1, place),
                Whose::Network(place) => (2, place),
            };
            w.u8(kind);
            w.u32(place);
            w.u32(run.bucket);
            w.extent(run.at);
            w.u32(run.subjects);
        });
        w.list(&self.blocks, |w, block| {
            w.u32(block.integration);
            w.extent(block.at);
            w.u32(block.rows);
            w.u32(block.touches);
            w.u64(block.first);
            w.u64(block.last);
        });
        w.list(&self.networks, |w, network| {
            w.short(&network.network.to_bytes());
            w.extent(network.at);
        });
        w.u64(self.postings.at);
        w.u64(self.postings.bytes);
        w.u8(self.postings.low_bits);
        w.u8(self.postings.block_bits);
        w.u32(self.postings.buckets);
        w.u32(self.postings.table_crc);
        w.list(&self.nameless, |w, pseudonym| w.bytes(&pseudonym.0));
        w.list(&self.gaps, |w, gap| {
            w.u64(gap.record);
            w.u64(gap.time.0);
            match gap.cause {
                GapCause::LostEnd => {
                    w.u8(0);
                    w.u32(0);
                }
                GapCause::WithoutLease(requests) => {
                    w.u8(1);
                    w.u32(requests);
                }
            }
        });
        let footer = out.get(start..).unwrap_or_default();
        let (length, crc) = (footer.len(), crc32c::crc32c(footer));
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&MAGIC);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut r = In(bytes);
        let footer = Self {
            span: match r.u8()? {
                0 => Span::Part,
                1 => Span::Week,
                2 => Span::Month,
                _ => return None,
            },
            first_record: r.u64()?,
            end_record: r.u64()?,
            end_leaf: r.fixed()?,
            day: r.u32()?,
            integrations: r.list(|r| Some(IntegrationId::from_bytes(r.fixed()?)))?,
            sets: r.list(|r| ClassSet::from_bytes(r.short()?))?,
            contexts: r.list(|r| {
                Some(Context {
                    integration: IntegrationId::from_bytes(r.fixed()?),
                    vendor: VendorId::from_bytes(r.fixed()?),
                    credential: CredentialId::from_bytes(r.fixed()?),
                    grant: optional(r.short()?, |id| {
                        Some(GrantId::from_bytes(id.try_into().ok()?))
                    })?,
                    operation: optional(r.short()?, |name| {
                        OperationId::new(std::str::from_utf8(name).ok()?)
                    })?,
                })
            })?,
            runs: r.list(|r| {
                Some(RunInfo {
                    length: Length::from_number(r.u8()?)?,
                    whose: match (r.u8()?, r.u32()?) {
                        (0, 0) => Whose::All,
                        (1, place) => Whose::One(place),
                        (2, place) => Whose::Network(place),
                        _ => return None,
                    },
                    bucket: r.u32()?,
                    at: r.extent()?,
                    subjects: r.u32()?,
                })
            })?,
            blocks: r.list(|r| {
                Some(BlockInfo {
                    integration: r.u32()?,
                    at: r.extent()?,
                    rows: r.u32()?,
                    touches: r.u32()?,
                    first: r.u64()?,
                    last: r.u64()?,
                })
            })?,
            networks: r.list(|r| {
                Some(NetworkInfo { network: ClientIp::from_bytes(r.short()?)?, at: r.extent()? })
            })?,
            postings: PostingsInfo {
                at: r.u64()?,
                bytes: r.u64()?,
                low_bits: r.u8()?,
                block_bits: r.u8()?,
                buckets: r.u32()?,
                table_crc: r.u32()?,
            },
            nameless: r.list(|r| Some(Pseudonym(r.fixed()?)))?,
            gaps: r.list(|r| {
                let (record, time) = (r.u64()?, UnixMicros(r.u64()?));
                let cause = match (r.u8()?, r.u32()?) {
                    (0, 0) => GapCause::LostEnd,
                    (1, requests) => GapCause::WithoutLease(requests),
                    _ => return None,
                };
                Some(Gap { record, time, cause })
            })?,
        };
        r.0.is_empty().then_some(footer)
    }
}

fn optional<'a, T>(bytes: &'a [u8], read: impl FnOnce(&'a [u8]) -> Option<T>) -> Option<Option<T>> {
    if bytes.is_empty() { Some(None) } else { read(bytes).map(Some) }
}

/// An open file.
pub struct IndexFile {
    pub(super) footer: Footer,
    /// Where each bucket of the postings begins.
    pub(super) buckets: Vec<u32>,
    data: Box<dyn ReadRange>,
    sizes: Sizes,
}

impl IndexFile {
    /// Opens a file of `length` bytes.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`]: it has to be built again, which loses nothing.
    pub fn open(data: Box<dyn ReadRange>, length: u64) -> Result<Self, Unreadable> {
        const BROKEN: Unreadable = Unreadable::Damaged("an index file's footer");
        let end_at = length.checked_sub(END as u64).ok_or(BROKEN)?;
        let mut bytes = Vec::new();
        data.read(end_at, END, &mut bytes)?;
        let (footer_bytes, rest) = bytes.split_first_chunk().ok_or(BROKEN)?;
        let (crc, magic) = rest.split_first_chunk().ok_or(BROKEN)?;
        let (footer_bytes, crc) = (u32::from_le_bytes(*footer_bytes), u32::from_le_bytes(*crc));
        let footer_at = end_at.checked_sub(u64::from(footer_bytes)).ok_or(BROKEN)?;
        if magic != MAGIC {
            return Err(BROKEN);
        }
        data.read(footer_at, footer_bytes as usize, &mut bytes)?;
        if crc32c::crc32c(&bytes) != crc {
            return Err(BROKEN);
        }
        let footer = Footer::decode(&bytes).ok_or(BROKEN)?;
        let sum = |extents: &mut dyn Iterator<Item = &Extent>| -> u64 {
            extents.map(|extent| u64::from(extent.bytes)).sum()
        };
        let touches = sum(&mut footer.blocks.iter().map(|block| &block.at))
            + sum(&mut footer.networks.iter().map(|network| &network.at));
        let sizes = Sizes {
            runs: length.saturating_sub(touches).saturating_sub(footer.postings.bytes),
            touches,
            postings: footer.postings.bytes,
        };
        let postings = &footer.postings;
        let mut buckets = Vec::new();
        if postings.bytes > 0 {
            let table = (postings.buckets as usize).saturating_add(1).saturating_mul(4);
            if table as u64 > postings.bytes || postings.bytes > length {
                return Err(BROKEN);
            }
            data.read(postings.at, table, &mut bytes)?;
            if crc32c::crc32c(&bytes) != postings.table_crc {
                return Err(BROKEN);
            }
            let (words, _) = bytes.as_chunks::<4>();
            buckets.extend(words.iter().map(|word| u32::from_le_bytes(*word)));
        }
        Ok(Self { footer, buckets, data, sizes })
    }

    /// What it is of.
    pub const fn span(&self) -> Span {
        self.footer.span
    }

    /// The records of the log that it covers: from this one up to, but not at, the other.
    pub const fn records(&self) -> std::ops::Range<u64> {
        self.footer.first_record..self.footer.end_record
    }

    /// Leaf hash of the last record it covers.
    pub const fn end_leaf(&self) -> &Digest {
        &self.footer.end_leaf
    }

    /// The day, counted from the epoch, that it or its week or month begins with.
    pub const fn day(&self) -> u32 {
        self.footer.day
    }

    /// Pseudonyms that no vault knew when this part was made.
    pub fn nameless(&self) -> &[Pseudonym] {
        &self.footer.nameless
    }

    /// Bytes by what they serve.
    pub const fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The bytes of an extent, checked.
    pub(super) fn read(&self, at: Extent, into: &mut Vec<u8>) -> Result<(), Unreadable> {
        self.data.read(at.offset, at.bytes as usize, into)?;
        if crc32c::crc32c(into) == at.crc {
            Ok(())
        } else {
            Err(Unreadable::Damaged("a section's checksum"))
        }
    }

    /// Bytes that carry no checksum of their own.
    pub(super) fn read_raw(
        &self,
        offset: u64,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<(), Unreadable> {
        Ok(self.data.read(offset, length, into)?)
    }

    /// As [`IndexFile::read_raw`] if the bytes are in memory; else says that they will be read soon, and returns false.
    pub(super) fn read_at_hand(
        &self,
        offset: u64,
        length: usize,
        into: &mut Vec<u8>,
    ) -> Result<bool, Unreadable> {
        let at_hand = self.data.read_at_hand(offset, length, into)?;
        if !at_hand {
            self.data.expect(offset, length as u64);
        }
        Ok(at_hand)
    }

    /// The hours of an integration or network that have runs.
    pub(super) fn hours_of(&self, whose: Whose) -> impl Iterator<Item = &RunInfo> {
        let runs = &self.footer.runs;
        let first = runs.partition_point(|run| (run.length, run.whose) < (Length::Hour, whose));
        let rest = runs.get(first..).unwrap_or_default().iter();
        rest.take_while(move |run| run.length == Length::Hour && run.whose == whose)
    }

    /// The run of a bucket; `None` if nothing was released in it.
    pub(super) fn run(&self, length: Length, whose: Whose, bucket: u32) -> Option<&RunInfo> {
        let key = (length, whose, bucket);
        let runs = &self.footer.runs;
        let at = runs.binary_search_by_key(&key, |run| (run.length, run.whose, run.bucket));
        at.ok().and_then(|at| runs.get(at))
    }

    /// Whether anything was released in an hour.
    pub(super) fn has_hour(&self, hour: u32) -> bool {
        self.run(Length::Hour, Whose::All, hour).is_some()
    }

    /// The place of an integration in the file's list; `None` if it read nothing here.
    pub(super) fn place_of(&self, integration: &IntegrationId) -> Option<u32> {
        let at = self.footer.integrations.binary_search(integration).ok()?;
        u32::try_from(at).ok()
    }
}

/// A file that is being made: data goes out as it comes, the footer at the end.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) out: Vec<u8>,
    /// Bytes that were taken from `out` already.
    gone: u64,
}

impl Writer {
    /// Where the next byte will lie.
    pub(super) fn offset(&self) -> u64 {
        self.gone + self.out.len() as u64
    }

    /// The extent of what was written since `start`.
    pub(super) fn extent_since(&self, start: u64) -> Extent {
        let from = usize::try_from(start - self.gone).unwrap_or(usize::MAX);
        let bytes = self.out.get(from..).unwrap_or_default();
        let length = u32::try_from(bytes.len());
        assert!(length.is_ok(), "a section of more than 4 GiB");
        Extent { offset: start, bytes: length.unwrap_or(0), crc: crc32c::crc32c(bytes) }
    }

    /// Writes the run of `pairs`, whose sets join `list`.
    pub(super) fn run(
        &mut self,
        (length, whose, bucket): (Length, Whose, u32),
        pairs: &[u64],
        masks: &Masks,
        list: &mut SetList,
    ) -> RunInfo {
        let start = self.offset();
        run::write(&mut self.out, pairs, |value| list.number(value, masks));
        let subjects = u32::try_from(pairs.len()).unwrap_or(u32::MAX);
        RunInfo { length, whose, bucket, at: self.extent_since(start), subjects }
    }

    /// Takes what was written so far, so that it need not be held.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.gone = self.offset();
        std::mem::take(&mut self.out)
    }
}

struct Out<'a>(&'a mut Vec<u8>);

impl Out<'_> {
    fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// At most 255 bytes, with their number before them.
    fn short(&mut self, bytes: &[u8]) {
        let length = u8::try_from(bytes.len());
        assert!(length.is_ok(), "a name of more than 255 bytes");
        self.u8(length.unwrap_or(0));
        self.bytes(bytes);
    }

    fn extent(&mut self, extent: Extent) {
        self.u64(extent.offset);
        self.u32(extent.bytes);
        self.u32(extent.crc);
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.u32(u32::try_from(items.len()).unwrap_or(u32::MAX));
        for item in items {
            write(self, item);
        }
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn u8(&mut self) -> Option<u8> {
        self.fixed().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.fixed().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.fixed().map(u64::from_le_bytes)
    }

    fn fixed<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        let (bytes, rest) = self.0.split_at_checked(usize::from(length))?;
        self.0 = rest;
        Some(bytes)
    }

    fn extent(&mut self) -> Option<Extent> {
        Some(Extent { offset: self.u64()?, bytes: self.u32()?, crc: self.u32()? })
    }

    /// The list grows as items are read, so that a length alone takes no memory.
    fn list<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        for _ in 0..self.u32()? {
            items.push(read(self)?);
        }
        Some(items)
    }
}
