use super::*;
use crate::Change;
use crate::posture::tests::{bearing, target, two_operators};
use model::UnixMicros;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const NOW: BootMicros = BootMicros(1_000_000);

fn switch() -> Switch {
    let switch = Switch::new(Posture::default());
    switch.lease.renew(NOW);
    switch
}

fn request(n: u8) -> RequestId {
    RequestId::from_bytes([n; 16])
}

fn change(switch: &Switch, change: Change) -> Settled {
    let entry = switch.posture().next_entry(change, "test", two_operators(), UnixMicros(1));
    switch.apply(&entry).unwrap()
}

#[test]
fn a_severed_release_cannot_write_another_byte() {
    let switch = switch();
    let gate = switch.open_gate();
    let passage = switch.pass(&gate, bearing(1), request(1), NOW, || true).unwrap();
    assert_eq!(gate.write(&switch.lease, NOW, || ("sent", 4)), Ok("sent"));
    let settled = change(&switch, Change::Sever(target(1, 1)));
    assert_eq!(settled, Settled { number: 1, connections: 1, aborted: 1 });
    assert_eq!(gate.write(&switch.lease, NOW, || ("sent", 4)), Err(Cut::Severed { number: 1 }));
    assert!(passage.reached_socket());
    assert!(matches!(
        switch.pass(&gate, bearing(9), request(2), NOW, || true),
        Err(Cut::Severed { .. })
    ));
}

#[test]
fn others_go_on_undisturbed() {
    let switch = switch();
    let gate = switch.open_gate();
    let _passage = switch.pass(&gate, bearing(1), request(1), NOW, || true).unwrap();
    assert_eq!(change(&switch, Change::Sever(target(1, 30))).aborted, 0);
    assert_eq!(gate.write(&switch.lease, NOW, || ((), 0)), Ok(()));
}

#[test]
fn a_lapsed_lease_refuses_and_stops_a_release_in_flight() {
    let switch = switch();
    let gate = switch.open_gate();
    let later = BootMicros(NOW.0 + crate::lease::LEASE);
    assert!(matches!(switch.admit(&bearing(1), later), Err(Cut::Lapsed)));
    assert_eq!(
        gate.write(&switch.lease, later, || ((), 0)),
        Ok(()),
        "a refusal without data may still be written"
    );
    let _passage = switch.pass(&gate, bearing(1), request(1), NOW, || true).unwrap();
    assert_eq!(gate.write(&switch.lease, later, || ((), 0)), Err(Cut::Lapsed));
}

#[test]
fn a_connection_serves_one_integration() {
    let switch = switch();
    let gate = switch.open_gate();
    drop(switch.pass(&gate, bearing(0), request(1), NOW, || true).unwrap());
    assert!(matches!(
        switch.pass(&gate, bearing(30), request(2), NOW, || true),
        Err(Cut::OtherIntegration)
    ));
}

#[test]
fn a_lingering_http2_release_is_still_cut() {
    let switch = switch();
    let gate = switch.open_gate();
    switch.pass(&gate, bearing(1), request(1), NOW, || true).unwrap().linger();
    assert_eq!(change(&switch, Change::Sever(target(3, 1))).aborted, 1);
    assert!(gate.write(&switch.lease, NOW, || ((), 0)).is_err());
}

#[test]
fn restoring_lets_new_connections_pass() {
    let switch = switch();
    change(&switch, Change::Sever(target(0, 1)));
    assert!(switch.admit(&bearing(1), NOW).is_err());
    change(&switch, Change::Restore(target(0, 1)));
    assert!(switch.admit(&bearing(1), NOW).is_ok());
}

/// Writers run against a sever from another thread: once `apply` has returned no write of the severed thing starts.
#[test]
fn no_write_starts_after_the_sever_returned() {
    for _round in 0..200 {
        let switch = switch();
        let returned = AtomicBool::new(false);
        let late = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for n in 0..4_u8 {
                let (switch, returned, late) = (&switch, &returned, &late);
                scope.spawn(move || {
                    let gate = switch.open_gate();
                    while let Ok(_passage) =
                        switch.pass(&gate, bearing(n / 2), request(n), NOW, || true)
                    {
                        for _ in 0..8 {
                            let started = gate
                                .write(&switch.lease, NOW, || (returned.load(Ordering::SeqCst), 1));
                            late.fetch_add(u64::from(started == Ok(true)), Ordering::SeqCst);
                        }
                    }
                });
            }
            change(&switch, Change::Sever(target(0, 1)));
            returned.store(true, Ordering::SeqCst);
        });
        assert_eq!(late.load(Ordering::SeqCst), 0);
    }
}

/// As for a sever: once `abort` has returned no write on the consent starts, whoever was about to pass.
#[test]
fn no_write_starts_after_a_consent_was_taken_back() {
    for _round in 0..200 {
        let switch = switch();
        let (given, returned) = (AtomicBool::new(true), AtomicBool::new(false));
        let (late, others) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for n in [5_u8, 5, 10, 10] {
                let (switch, given, returned, late) = (&switch, &given, &returned, &late);
                scope.spawn(move || {
                    let gate = switch.open_gate();
                    let consented = || n != 5 || given.load(Ordering::SeqCst);
                    while !(n != 5 && returned.load(Ordering::SeqCst))
                        && let Ok(_passage) =
                            switch.pass(&gate, bearing(n), request(n), NOW, consented)
                    {
                        let started =
                            gate.write(&switch.lease, NOW, || (returned.load(Ordering::SeqCst), 1));
                        late.fetch_add(u64::from(n == 5 && started == Ok(true)), Ordering::SeqCst);
                    }
                });
            }
            given.store(false, Ordering::SeqCst);
            switch.abort(|it| it.consent == bearing(5).consent);
            returned.store(true, Ordering::SeqCst);
            let untouched = switch.open_gate();
            let passed = switch.pass(&untouched, bearing(10), request(10), NOW, || true);
            others.fetch_add(u64::from(passed.is_ok()), Ordering::SeqCst);
        });
        assert_eq!((late.load(Ordering::SeqCst), others.load(Ordering::SeqCst)), (0, 1));
    }
}

proptest! {
    /// After any history, exactly the gates with a covered release in flight are cut.
    #[test]
    fn exactly_the_covered_are_cut(flights in proptest::collection::vec(0_u8..32, 1..20), kind in 0_u8..6, n in 0_u8..32) {
        let switch = switch();
        let open: Vec<_> = flights.iter().map(|&f| {
            let gate = switch.open_gate();
            let passage = switch.pass(&gate, bearing(f), request(f), NOW, || true).unwrap();
            (gate, passage, bearing(f))
        }).collect();
        change(&switch, Change::Sever(target(kind, n)));
        for (gate, _passage, bearing) in &open {
            let cut = gate.write(&switch.lease, NOW, || ((), 0)).is_err();
            prop_assert_eq!(cut, target(kind, n).covers(bearing));
        }
    }
}
