//! Threads for the questions of the record: they live as long as one answer takes to be found.

use exposure::index::{Job, Workers};
use std::sync::LazyLock;
use std::thread;

/// More threads than this find little more at once: they wait for the same memory, and requests have to be decided meanwhile.
const AT_ONCE_MAX: usize = 4;

/// Whoever answers here: as many threads as there are processors, up to four.
pub fn workers() -> Workers {
    static AT_ONCE: LazyLock<usize> = LazyLock::new(|| {
        thread::available_parallelism().map_or(1, |processors| processors.get().min(AT_ONCE_MAX))
    });
    Workers { at_once: *AT_ONCE, run: at_once }
}

/// The last job is done by the caller's own thread.
fn at_once(jobs: &mut [Job<'_>]) {
    let Some((mine, others)) = jobs.split_last_mut() else { return };
    thread::scope(|scope| {
        for job in others {
            scope.spawn(job);
        }
        mine();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_job_is_done_once() {
        for number in 0..5 {
            let mut done = vec![0; number];
            let mut jobs: Vec<_> = done.iter_mut().map(|times| || *times += 1).collect();
            let mut jobs: Vec<Job<'_>> = jobs.iter_mut().map(|job| job as Job<'_>).collect();
            (workers().run)(&mut jobs);
            assert_eq!(done, vec![1; number]);
        }
    }
}
