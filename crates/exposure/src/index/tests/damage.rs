//! A file that is not what was written: damaged by a disk, or forged with its checksums made right again.

use super::*;

/// Numbers that somebody would forge.
fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0_u64..300,
        (0_u64..300).prop_map(|n| u64::MAX - n),
        (0_u64..300).prop_map(|n| u64::from(u32::MAX) - n)
    ]
}

/// Changes one thing, and makes the checksums right again.
fn forge(
    footer: &mut footer::Footer,
    data: &mut [u8],
    what: u8,
    at: prop::sample::Index,
    number: u64,
) {
    let small = u32::try_from(number & u64::from(u32::MAX)).unwrap();
    let [byte, ..] = number.to_le_bytes();
    fn one<'a, T>(items: &'a mut [T], at: &prop::sample::Index) -> Option<&'a mut T> {
        let place = at.index(items.len().max(1));
        items.get_mut(place)
    }
    let mut touch = |extent: &mut footer::Extent| {
        let start = usize::try_from(extent.offset).unwrap_or(usize::MAX);
        let bytes = data.get_mut(start..).and_then(|rest| rest.get_mut(..extent.bytes as usize));
        let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return };
        bytes[at.index(bytes.len())] = byte;
        extent.crc = crc32c::crc32c(bytes);
    };
    let runs = &mut footer.runs;
    let blocks = &mut footer.blocks;
    match what {
        0 => footer.day = small,
        1 => footer.first_record = number,
        2 => footer.end_record = number,
        3 => one(runs, &at).into_iter().for_each(|run| run.at.offset = number),
        4 => one(runs, &at).into_iter().for_each(|run| run.at.bytes = small),
        5 => one(runs, &at).into_iter().for_each(|run| run.bucket = small),
        6 => one(runs, &at).into_iter().for_each(|run| run.subjects = small),
        7 => one(blocks, &at).into_iter().for_each(|block| block.at.offset = number),
        8 => one(blocks, &at).into_iter().for_each(|block| block.at.bytes = small),
        9 => one(blocks, &at).into_iter().for_each(|block| block.rows = small),
        10 => one(blocks, &at).into_iter().for_each(|block| block.touches = small),
        11 => one(blocks, &at).into_iter().for_each(|block| block.first = number),
        12 => one(blocks, &at).into_iter().for_each(|block| block.last = number),
        13 => one(blocks, &at).into_iter().for_each(|block| block.integration = small),
        14 => footer.postings.at = number,
        15 => footer.postings.bytes = number,
        16 => footer.postings.low_bits = byte,
        17 => footer.postings.block_bits = byte,
        18 => footer.postings.buckets = small,
        23 => footer.postings.marks = small,
        19 => one(&mut footer.networks, &at)
            .into_iter()
            .for_each(|network| network.at.offset = number),
        20 => one(&mut footer.networks, &at).into_iter().for_each(|network| touch(&mut network.at)),
        21 | 22 => one(blocks, &at).into_iter().for_each(|block| touch(&mut block.at)),
        _ => one(runs, &at).into_iter().for_each(|run| touch(&mut run.at)),
    }
}

proptest! {
    #[test]
    fn a_damaged_file_is_noticed_or_answers_the_same(steps in steps(), at: prop::sample::Index, change in 1_u8..) {
        let records = records(&steps, false);
        let mut indexer = Indexer::resume(0, 0, Vec::new());
        for (record, index) in records.iter().zip(0..) {
            indexer.push(index, record, ordinal_of);
        }
        let Some(table) = indexer.tail().next() else { return Ok(()) };
        let good = seal(&mut Sealer::default(), table);
        let mut bad = good.clone();
        bad[at.index(good.len())] ^= change;
        let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
        let answer = |bytes: Vec<u8>| {
            let file = open(bytes).ok()?;
            let index = Index::new([&file], []);
            let subjects: Vec<_> = index.subjects(&all).ok()?.iter().collect();
            let counted = index.count(&all).ok()?.subjects;
            let known = (0..36_u32).map(|n| SubjectOrdinal(n * n * 1_000));
            let histories: Option<Vec<_>> = known.map(|who| index.history(who, &all).ok()).collect();
            Some((subjects, counted, histories?))
        };
        let wanted = answer(good);
        prop_assert!(wanted.is_some());
        let got = answer(bad);
        prop_assert!(got.is_none() || got == wanted);
    }

    #[test]
    fn a_forged_file_is_an_error_or_an_answer(steps in steps(), forgeries in prop::collection::vec((0_u8..26, any::<prop::sample::Index>(), numbers()), 1..4), workers in 1_usize..4) {
        let records = records(&steps, false);
        let mut indexer = Indexer::resume(0, 0, Vec::new());
        for (record, index) in records.iter().zip(0..) {
            indexer.push(index, record, ordinal_of);
        }
        let Some(table) = indexer.tail().next() else { return Ok(()) };
        let mut bytes = seal(&mut Sealer::default(), table);
        let mut footer = open(bytes.clone()).unwrap().footer;
        let length = bytes.len() - 16;
        let footer_bytes = u32::from_le_bytes(bytes[length..length + 4].try_into().unwrap());
        bytes.truncate(length - usize::try_from(footer_bytes).unwrap());
        for (what, at, number) in &forgeries {
            forge(&mut footer, &mut bytes, *what, *at, *number);
        }
        footer.encode(&mut bytes);
        let Ok(file) = open(bytes) else { return Ok(()) };
        // Several at work look at it in other places.
        let run = |jobs: &mut [Job<'_>]| jobs.iter_mut().for_each(|job| job());
        let index = Index::new([&file], []).with(Workers { at_once: workers, run });
        let all = Question::all(UnixMicros(0), UnixMicros(u64::MAX));
        let _ = index.subjects(&all).map(|subjects| subjects.iter().count());
        let _ = index.count(&all);
        let _ = index.timeline(&all);
        let _ = index.classes(&all);
        for n in 0..36_u32 {
            let _ = index.history(SubjectOrdinal(n * n * 1_000), &all);
        }
        let from_one = Question { networks: Some(["192.0.1.0/24".parse().unwrap()].into()), ..all };
        let _ = index.subjects(&from_one).map(|subjects| subjects.iter().count());
        let _ = Leveler::default().level(Span::Month, file.day(), &[&file], |_| Ok(()));
    }

    #[test]
    fn arbitrary_bytes_are_no_file(bytes: Vec<u8>) {
        prop_assert!(open(bytes).is_err());
    }
}
