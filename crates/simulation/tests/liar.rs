//! P7 and P8 against a keeper that lies: each lie is caught by the check that claims to catch it, by name; the truth raises nothing.

use simulation::liar::{Found, Lie, check, tell};

/// What must be found. `-`: by nobody, because the check does not claim to.
fn wanted(lie: Lie) -> [&'static str; 4] {
    // bundle, replay, growth, receipt
    match lie {
        Lie::Honest => ["-", "-", "-", "-"],
        // A history that was made up is as good as another one to whoever has seen none before.
        Lie::Fork | Lie::RolledBack => ["-", "-", "forked", "other-record"],
        Lie::TakenBack => ["*", "*", "shrunk", "-"],
        Lie::CutTail => ["truncated", "truncated", "*", "*"],
        Lie::OffChain => ["off-chain", "repeated", "-", "-"],
        // What `operator-asserted` leaves open, and only a replay finds.
        Lie::InventedSum => ["-", "repeated", "-", "-"],
        Lie::ReusedNumber => ["repeated", "repeated", "-", "-"],
        Lie::TimeBack | Lie::MovedOverBound => ["time-back", "swapped", "-", "-"],
        Lie::OmittedTouch => ["changed", "touches", "-", "-"],
        Lie::SwappedMask => ["changed", "class mask", "-", "-"],
        Lie::LeftOut => ["-", "-", "-", "other-record"],
        Lie::NeverWritten => ["-", "-", "-", "omitted"],
    }
}

fn run(lie: Lie, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let Found { bundle, replay, growth, receipt } = check(&tell(seed, lie));
        let found = [bundle, replay, growth, receipt].map(|name| name.unwrap_or("-"));
        let same =
            found.iter().zip(wanted(lie)).all(|(found, wanted)| wanted == "*" || *found == wanted);
        assert!(same, "{lie:?}, seed {seed}: found {found:?}, wanted {:?}", wanted(lie));
    }
}

#[test]
fn the_truth_raises_nothing() {
    run(Lie::Honest, 0..150);
}

#[test]
fn each_lie_is_caught_by_name() {
    for lie in Lie::ALL {
        run(lie, 1_000..1_040);
    }
}
