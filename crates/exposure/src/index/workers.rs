//! Work that can be done at the same time. The core starts no threads: whoever has some lends them.

/// A piece of work. To be called once.
pub type Job<'a> = &'a mut (dyn FnMut() + Send);

/// Who does the work of a question.
#[derive(Clone, Copy, Debug)]
pub struct Workers {
    /// Into how many jobs work is cut; at least one.
    pub at_once: usize,
    /// Calls each job once, in any order, and returns when all have returned.
    pub run: fn(&mut [Job<'_>]),
}

impl Workers {
    /// One after the other, in the caller's thread.
    pub const ALONE: Self = Self { at_once: 1, run: |jobs| jobs.iter_mut().for_each(|job| job()) };

    /// What `work` makes of each share, in their order.
    pub(super) fn each<S: Send, T: Send>(
        self,
        shares: impl IntoIterator<Item = S>,
        work: impl Fn(S) -> T + Sync,
    ) -> Vec<T> {
        let mut places: Vec<(Option<S>, Option<T>)> =
            shares.into_iter().map(|share| (Some(share), None)).collect();
        let work = &work;
        let mut jobs: Vec<_> =
            places.iter_mut().map(|(share, done)| || *done = share.take().map(work)).collect();
        let mut jobs: Vec<Job<'_>> = jobs.iter_mut().map(|job| job as Job<'_>).collect();
        match jobs.as_mut_slice() {
            [job] => job(),
            jobs => (self.run)(jobs),
        }
        let shares = places.len();
        let done: Vec<T> = places.into_iter().filter_map(|(_, done)| done).collect();
        assert_eq!(done.len(), shares, "a worker left out a job");
        done
    }
}

/// The `number`-th of `of` shares of a list, all of about the same length.
pub(super) fn share<T>(list: &[T], number: usize, of: usize) -> &[T] {
    let at = |number: usize| list.len() * number / of;
    list.get(at(number)..at(number + 1)).unwrap_or_default()
}
