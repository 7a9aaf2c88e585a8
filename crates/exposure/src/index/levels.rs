//! Weeks and months: runs made of the days' runs.

use super::file::{IndexFile, Writer};
use super::footer::{Footer, Length, RowMark, RunInfo, Span, Whose};
use super::masks::{Masks, SetList};
use super::plan::{DAYS_OF_MONTH, DAYS_OF_WEEK};
use super::run::Cursor;
use super::{Unreadable, masks, sort, unite};
use model::{ClassSet, IntegrationId};
use std::collections::BTreeSet;
use std::io;

/// Makes the files of weeks and months, one after another, in the same memory: that of the largest, some 20 bytes a subject of it and 16 for
/// each time that the integration with most read anybody on a day.
#[derive(Default)]
pub struct Leveler {
    writer: Writer,
    days: Lists,
    everybody: unite::Everybody,
    all: Vec<u64>,
}

impl Leveler {
    /// Makes the file of the week or month that begins with `day`, from the files of all its parts in order of the log.
    ///
    /// `write` takes the file's bytes as they come. The same parts give the same bytes.
    ///
    /// # Errors
    /// [`Unreadable`], of a part or of `write`.
    pub fn level(
        &mut self,
        span: Span,
        day: u32,
        parts: &[&IndexFile],
        mut write: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Unreadable> {
        let Self { writer, days, everybody, all } = self;
        writer.begin();
        everybody.begin();
        let (length, bucket) = match span {
            Span::Month => (Length::Month, day / DAYS_OF_MONTH),
            Span::Week => (Length::Week, day / DAYS_OF_WEEK),
            Span::Part => return Err(Unreadable::Damaged("a part is not a level; its file")),
        };
        let sets = parts.iter().flat_map(|part| &part.footer.sets);
        let classes = sets.fold(ClassSet::EMPTY, |all, set| all.union(set));
        let mut masks = Masks::new(&classes);
        let mut list = SetList::default();
        let integrations: BTreeSet<IntegrationId> =
            parts.iter().flat_map(|part| part.footer.integrations.iter().copied()).collect();
        let mut runs = Vec::new();
        let values: Vec<Vec<u32>> =
            parts.iter().map(|part| masks::values(&part.footer.sets, &mut masks)).collect();
        for (integration, place) in integrations.iter().zip(0..) {
            days.read(days_of(integration, parts, &values)?)?;
            let pairs = days.unite(&mut masks);
            let whose = Whose::One(place);
            if span == Span::Month {
                everybody.unite(pairs, &mut masks);
            }
            runs.push(writer.run((length, whose, bucket), pairs, &masks, &mut list));
            writer.flush(&mut write)?;
        }
        if span == Span::Month {
            everybody.move_into(all);
            runs.push(writer.run((length, Whose::All, bucket), all, &masks, &mut list));
        }
        runs.sort_unstable_by_key(|run| (run.length, run.whose, run.bucket));
        let footer = Footer {
            span,
            first_record: parts.first().map_or(0, |part| part.footer.first_record),
            end_record: parts.last().map_or(0, |part| part.footer.end_record),
            end_leaf: parts.last().map_or([0; 32], |part| part.footer.end_leaf),
            ordinals: parts.last().map_or(0, |part| part.footer.ordinals),
            row_mark: parts.last().map_or(RowMark::default(), |part| part.footer.row_mark),
            day,
            integrations: integrations.into_iter().collect(),
            sets: list.sets,
            contexts: Vec::new(),
            runs,
            blocks: Vec::new(),
            networks: Vec::new(),
            postings: Default::default(),
            nameless: Vec::new(),
            gaps: Vec::new(),
        };
        footer.encode(&mut writer.out);
        Ok(writer.flush(&mut write)?)
    }
}

/// Lists of pairs one behind another, each in order of ordinal. Its memory is used again.
#[derive(Default)]
struct Lists {
    pairs: Vec<u64>,
    ends: Vec<usize>,
    spare: Vec<u64>,
}

impl Lists {
    /// Holds these runs, each as a list, and nothing else.
    fn read(&mut self, runs: Vec<Cursor>) -> Result<(), Unreadable> {
        let most = runs.iter().map(Cursor::waiting).sum();
        sort::make_room(&mut self.pairs, most);
        sort::make_room(&mut self.spare, most);
        self.ends.clear();
        for mut run in runs {
            run.drain_into(&mut self.pairs)?;
            self.ends.push(self.pairs.len());
        }
        Ok(())
    }

    /// Makes one list of all.
    fn unite(&mut self, masks: &mut Masks) -> &mut [u64] {
        unite::unite_lists(&mut self.pairs, &self.ends, &mut self.spare, masks);
        &mut self.pairs
    }
}

/// What an integration read on each day of these parts. `values`: of each part, the value of each of its sets.
fn days_of(
    integration: &IntegrationId,
    parts: &[&IndexFile],
    values: &[Vec<u32>],
) -> Result<Vec<Cursor>, Unreadable> {
    let days = parts.iter().zip(values).filter_map(|(part, values)| {
        let place = part.place_of(integration)?;
        let day = part.run(Length::Day, Whose::One(place), part.footer.day)?;
        Some(cursor(part, day, values))
    });
    days.collect()
}

/// Starts to read a run. `values`: the value of each of the file's sets.
pub(super) fn cursor(
    file: &IndexFile,
    info: &RunInfo,
    values: &[u32],
) -> Result<Cursor, Unreadable> {
    let mut bytes = Vec::new();
    file.read(info.at, &mut bytes)?;
    let value =
        |set: u32| values.get(set as usize).copied().ok_or(super::Damaged("a run's list of sets"));
    Ok(Cursor::new(bytes, info.subjects, value)?)
}
