//! What a file of the index says of itself, behind its data. `docs/index-format.md` is the format.

use super::table::{Context, DAY, Gap};
use model::{
    ClassSet, ClientIp, CredentialId, Digest, GrantId, IntegrationId, OperationId, Pseudonym,
    UnixMicros, VendorId,
};

pub(super) const MAGIC: [u8; 8] = *b"PCINDX\x00\x03";
/// Length and checksum of the footer, magic.
pub(super) const END: usize = 16;

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
    /// Words of marks.
    pub(super) marks: u32,
    /// Checksum of where the buckets begin, and of the marks.
    pub(super) table_crc: u32,
}

impl PostingsInfo {
    /// Bytes before the first bucket.
    pub(super) const fn table_bytes(&self) -> u64 {
        (self.buckets as u64 + 1) * 4 + self.marks as u64 * 8
    }
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
    /// Ordinals with a name are below this, here and in every file of earlier records.
    pub(super) ordinals: u32,
    /// What the vault says of the row before that, by which a file is known to be of another vault; zeros if there is none.
    pub(super) row_mark: RowMark,
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

/// What a vault alone can say of one of its rows. Rows are added in order, so two vaults that say the same of one agree on all before it.
pub type RowMark = [u8; 16];

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
        w.u32(self.ordinals);
        w.bytes(&self.row_mark);
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
        w.u32(self.postings.marks);
        w.u32(self.postings.table_crc);
        w.list(&self.nameless, |w, pseudonym| w.bytes(&pseudonym.0));
        w.list(&self.gaps, |w, gap| {
            w.u64(gap.record);
            w.u64(gap.time.0);
        });
        let footer = out.get(start..).unwrap_or_default();
        let (length, crc) = (footer.len(), crc32c::crc32c(footer));
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&MAGIC);
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
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
            ordinals: r.u32()?,
            row_mark: r.fixed()?,
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
                marks: r.u32()?,
                table_crc: r.u32()?,
            },
            nameless: r.list(|r| Some(Pseudonym(r.fixed()?)))?,
            gaps: r.list(|r| Some(Gap { record: r.u64()?, time: UnixMicros(r.u64()?) }))?,
        };
        r.0.is_empty().then_some(footer)
    }
}

impl Footer {
    /// Whether what it says can be of a file with so many bytes of data. A checksum is no seal: who forged one must get an error, not
    /// sums that overflow or memory for what is not there.
    pub(super) fn is_sound(&self, data: u64) -> bool {
        let within =
            |offset: u64, bytes: u64| offset.checked_add(bytes).is_some_and(|end| end <= data);
        let extents = self.runs.iter().map(|run| run.at);
        let extents = extents.chain(self.networks.iter().map(|network| network.at));
        let extents = extents.chain(self.blocks.iter().map(|block| block.at));
        let day = |time: u64| time / DAY == u64::from(self.day);
        // Days that begin and end, a month of them later too, before time does.
        u64::from(self.day) < u64::MAX / DAY - 31
            && self.first_record <= self.end_record
            && extents.into_iter().all(|at| within(at.offset, u64::from(at.bytes)))
            && within(self.postings.at, self.postings.bytes)
            && self
                .blocks
                .iter()
                .all(|block| block.first <= block.last && day(block.first) && day(block.last))
    }
}

fn optional<'a, T>(bytes: &'a [u8], read: impl FnOnce(&'a [u8]) -> Option<T>) -> Option<Option<T>> {
    if bytes.is_empty() { Some(None) } else { read(bytes).map(Some) }
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
