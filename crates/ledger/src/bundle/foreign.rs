//! Our verifier and the one in Python, which was written from `docs/evidence-format.md`, say the same of the same files: good ones of
//! every kind, and ones that were tampered with, each refused by both under the same name.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a test that runs a foreign program on files"
)]

use super::sealed::tests::{recipient, sealed};
use super::tests::{auditor, build_from, cosigned, sample_log, window};
use super::*;
use crate::bundle::Form;
use crate::record::Draft;
use crate::sample::{self, Step, access, integration, keys, log, network, touch};
use crate::state::State;
use model::Micros;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

struct Case {
    about: String,
    bundle: Vec<u8>,
    opening: Option<Vec<u8>>,
}

/// One good bundle of every kind.
fn good() -> Vec<(&'static str, Vec<u8>)> {
    let sample = sample_log();
    let cosigned = sample::Log { note: cosigned(&sample.note), records: sample.records.clone() };
    let of = |log: &sample::Log, question: Question, form: Form| {
        build_from(log, &question, form, State::begin()).unwrap()
    };
    let all = Question { integrations: None, ..window(7, 18) };
    let vendor = Some(VendorId::from_bytes([9; 16]));
    let lineage = (1..5).map(integration).collect();
    let nets = ["192.0.2.0/24", "2001:db8::/32"].map(|net| net.parse().unwrap());
    // Two quarters, takings back, and networks of their own.
    let ninety_days = 90 * 86_400_000_000;
    let elsewhere =
        model::AccessRecord { network: network(7), ..access(2, &[touch(4, &[1, 200])]) };
    let long = log(&[
        (1_000_000, Step::Draft(Draft::Access(access(1, &[touch(1, &[0]), touch(2, &[0, 3])])))),
        (1_000_000, Step::Draft(Draft::Access(access(1, &[touch(3, &[2])])))),
        (1_000_000, Step::TakeBack(integration(1))),
        (1_000_000, Step::Heads),
        (ninety_days, Step::Draft(Draft::Access(access(1, &[touch(4, &[0])])))),
        (1_000_000, Step::Draft(Draft::Access(elsewhere))),
        (61_000_000, Step::Heads),
    ]);
    let quarters = Question {
        integrations: None,
        to: window(0, 10).to + Micros::from_secs(90 * 86_400),
        ..window(0, 1)
    };
    vec![
        ("one integration", of(&sample, window(7, 18), Form::default())),
        ("from the beginning", of(&sample, window(0, 9), Form::default())),
        ("all integrations", of(&sample, all.clone(), Form::default())),
        (
            "a vendor's",
            of(
                &sample,
                Question { integrations: Some(lineage), ..window(7, 18) },
                Form { vendor, ..Form::default() },
            ),
        ),
        (
            "by class",
            of(
                &sample,
                Question { classes: Some(sample::classes(&[1])), ..all.clone() },
                Form::default(),
            ),
        ),
        (
            "by network",
            of(
                &long,
                Question { networks: Some(nets.into()), ..quarters.clone() },
                Form::default(),
            ),
        ),
        (
            "nothing read",
            of(
                &sample,
                Question { integrations: Some([integration(77)].into()), ..window(7, 18) },
                Form::default(),
            ),
        ),
        ("two quarters", of(&long, quarters.clone(), Form::default())),
        (
            "cosigned",
            of(&cosigned, all.clone(), Form { level: Level::AuditorCosigned, ..Form::default() }),
        ),
        ("sealed", sealed(&sample, &all).unwrap()),
        ("sealed, two quarters", sealed(&long, &quarters).unwrap()),
    ]
}

/// A lie's name, and how it is told.
type Lie<T> = (&'static str, fn(&mut T));

/// What a liar would do to a bundle's parts.
fn lies() -> Vec<Lie<Bundle>> {
    fn header(bundle: &mut Bundle, at: usize, change: impl Fn(&mut crate::record::Header)) {
        let Some(shown) = bundle.runs.first_mut().and_then(|run| run.shown.get_mut(at)) else {
            return;
        };
        let mut header = crate::record::Header::decode(&shown.entry).unwrap();
        change(&mut header);
        shown.entry.clear();
        header.encode(&mut shown.entry);
    }
    fn first(bundle: &mut Bundle) -> &mut Vec<Shown> {
        bundle.runs.first_mut().map(|run| &mut run.shown).unwrap()
    }
    vec![
        ("drop", |b| _ = (first(b).len() > 1).then(|| first(b).remove(0))),
        ("truncate", |b| _ = first(b).pop()),
        ("swap", |b| {
            if first(b).len() > 2 {
                first(b).swap(0, 2)
            }
        }),
        ("repeat", |b| {
            if let Some(one) = first(b).first().cloned() {
                first(b).push(one)
            }
        }),
        ("later", |b| header(b, 1, |h| h.time.0 += 1)),
        ("earlier", |b| header(b, 1, |h| h.time.0 -= 10_000_000_000)),
        ("other body", |b| header(b, 1, |h| h.body[3] ^= 1)),
        ("other mask", |b| header(b, 0, |h| h.classes = sample::classes(&[9]))),
        ("other link", |b| header(b, 1, |h| h.previous[0] ^= 1)),
        ("other number", |b| header(b, 0, |h| h.sequence += 1000)),
        ("stranger", |b| header(b, 1, |h| (h.previous, h.body) = ([9; 32], [8; 32]))),
        ("no facts", |b| first(b).iter_mut().for_each(|shown| shown.facts = None)),
        ("answer", |b| b.answer.records += 1),
        ("no answer", |b| b.answer = Answer::default()),
        ("run left out", |b| _ = b.runs.pop()),
        ("runs reversed", |b| b.runs.reverse()),
        ("wider", |b| b.question.to = b.question.to + Micros::from_secs(86_400 * 400)),
        ("earlier window", |b| b.question.from = UnixMicros(0)),
        ("later window", |b| b.question.from = UnixMicros(b.question.from.0 + 3_000_000)),
        ("more asked", |b| b.question.integrations = None),
        ("less asked", |b| b.question.integrations = Some([integration(1)].into())),
        ("by class", |b| b.question.classes = Some(sample::classes(&[2]))),
        ("by network", |b| b.question.networks = Some(["10.0.0.0/8".parse().unwrap()].into())),
        ("by an address", |b| b.question.networks = Some(["192.0.2.1/32".parse().unwrap()].into())),
        ("vendor", |b| b.vendor = Some(VendorId::from_bytes([3; 16]))),
        ("no bound", |b| b.lower = None),
        ("bounds alike", |b| b.lower = Some(b.upper.clone())),
        ("bound moved", |b| b.upper.index -= 1),
        ("bound's path", |b| _ = b.upper.path.pop()),
        ("bound's body", |b| b.upper.body[20] ^= 1),
        ("head", |b| {
            if let HeadProof::Present(place) = &mut b.runs[0].upper {
                place.head.count -= 1
            }
        }),
        ("head's path", |b| {
            if let HeadProof::Present(place) = &mut b.runs[0].upper {
                _ = place.path.pop()
            }
        }),
        ("head's sum", |b| {
            if let HeadProof::Present(place) = &mut b.runs[0].upper
                && let Some(node) = place.path.first_mut()
            {
                node.sum += 1
            }
        }),
        ("absent", |b| b.runs[0].upper = HeadProof::Absent { before: None, after: None }),
        ("system", |b| b.system = None),
        ("cosigned", |b| b.level = Level::AuditorCosigned),
        ("not cosigned", |b| b.checkpoint = sample_log().note),
        ("another key", |b| b.checkpoint = b.checkpoint.replace("test/node-1/1", "test/node-2/1")),
        ("another size", |b| b.checkpoint = b.checkpoint.replacen("\n2", "\n3", 1)),
        ("token", |b| {
            if let Some(seal) = &mut b.seal {
                _ = seal.tokens.pop_first()
            }
        }),
        ("tokens joined", |b| {
            if let Some(seal) = &mut b.seal {
                let (_, mut positions) = seal.tokens.pop_first().unwrap();
                let into = seal.tokens.values_mut().next().unwrap();
                into.append(&mut positions);
                into.sort();
            }
        }),
        ("seal taken off", |b| b.seal = None),
        ("leaf", |b| {
            if let Some(Shown { facts: Some(Facts::Sealed { leaves, .. }), .. }) =
                first(b).first_mut()
                && let Some(leaf) = leaves.first_mut()
            {
                leaf[0] ^= 1
            }
        }),
    ]
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut put =
        |about: String, bundle: Vec<u8>| cases.push(Case { about, bundle, opening: None });
    let mut runner = TestRunner::deterministic();
    let flips = (proptest::num::usize::ANY, 0..8_u32);
    for (kind, bytes) in good() {
        put(format!("{kind}: honest"), bytes.clone());
        for (lie, tell) in lies() {
            let mut bundle = Bundle::decode(&bytes).unwrap();
            tell(&mut bundle);
            put(format!("{kind}: {lie}"), bundle.encode());
        }
        for _ in 0..60 {
            let (at, bit) = flips.new_tree(&mut runner).unwrap().current();
            let mut flipped = bytes.clone();
            let at = at % bytes.len();
            flipped[at] ^= 1 << bit;
            put(format!("{kind}: bit {bit} of byte {at}"), flipped);
        }
        put(format!("{kind}: cut"), bytes[..bytes.len() / 2].to_vec());
        put(format!("{kind}: longer"), [&bytes[..], &[0]].concat());
    }
    cases.extend(openings());
    cases
}

/// One touch of a sealed bundle, opened, and said to be another.
fn openings() -> Vec<Case> {
    let log = log(&[(
        1_000_000,
        Step::Draft(Draft::Access(access(1, &[touch(1, &[0]), touch(2, &[1])]))),
    )]);
    let bundle = sealed(&log, &window(0, 2)).unwrap();
    let position = Position { run: 0, sequence: 0, touch: 1 };
    let opening = Opening::of(&log.records[0].touches, position, &recipient()).unwrap().unwrap();
    let told: [Lie<Opening>; 6] = [
        ("honest", |_| {}),
        ("salt", |o| o.salt[0] ^= 1),
        ("key", |o| o.key[0] ^= 1),
        ("subject", |o| o.touch.pseudonym.0[0] ^= 1),
        ("classes", |o| o.touch.classes = sample::classes(&[7])),
        ("place", |o| o.position.touch = 0),
    ];
    let case = |(about, tell): Lie<Opening>| {
        let mut opening = opening.clone();
        tell(&mut opening);
        let opening = Some(opening.to_bytes());
        Case { about: format!("opening: {about}"), bundle: bundle.clone(), opening }
    };
    let mut cases: Vec<_> = told.into_iter().map(case).collect();
    let cut = Some(opening.to_bytes()[..40].to_vec());
    cases.push(Case { about: "opening: cut".into(), bundle, opening: cut });
    cases
}

/// What we say: records and subjects, or the lie's name.
fn ours(case: &Case) -> String {
    let auditors = [auditor().key().unwrap()];
    let verified = match &case.opening {
        None => verify(&case.bundle, &keys(), &auditors),
        Some(opening) => verify_opening(&case.bundle, opening, &keys(), &auditors).map(|(v, _)| v),
    };
    match verified {
        Ok(v) => {
            let subjects = v.seal.map_or(v.answer.subjects.len(), |seal| seal.tokens.len());
            format!("{} {} {subjects}", v.level.as_str(), v.answer.records)
        }
        Err(bad) => bad.name().to_owned(),
    }
}

fn theirs(line: &str) -> String {
    let said: serde_json::Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    if said["ok"] == true {
        format!("{} {} {}", text("level"), said["records"], said["subjects"])
    } else {
        text("name")
    }
}

#[test]
fn every_honest_kind_holds_and_most_lies_do_not() {
    let said: Vec<(String, String)> = cases().iter().map(|c| (c.about.clone(), ours(c))).collect();
    for (about, said) in &said {
        let holds = said.contains(' ');
        assert!(holds || !about.ends_with("honest"), "{about}: {said}");
    }
    let names: BTreeSet<_> =
        said.iter().filter(|(_, said)| !said.contains(' ')).map(|(_, said)| said).collect();
    assert!(names.len() >= 16, "only these lies were told: {names:?}");
}

#[test]
fn the_verifier_that_was_written_from_the_page_agrees() {
    if std::env::var_os("PORTCULLIS_FOREIGN_TESTS").is_none_or(|asked| asked != "1") {
        eprintln!("left out without PORTCULLIS_FOREIGN_TESTS=1: the verifier in Python");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    let mut paths = String::new();
    for (case, n) in cases.iter().zip(0..) {
        let bundle = folder.path().join(format!("{n}.bundle"));
        std::fs::write(&bundle, &case.bundle).unwrap();
        paths.push_str(bundle.to_str().unwrap());
        if let Some(opening) = &case.opening {
            let file = folder.path().join(format!("{n}.opening"));
            std::fs::write(&file, opening).unwrap();
            paths = paths + "\t" + file.to_str().unwrap();
        }
        paths.push('\n');
    }
    let mut python = Command::new(root.join("tests/foreign/venv/bin/python"))
        .arg(root.join("tests/evidence/verify.py"))
        .args([
            "--key",
            &keys()[0].to_string(),
            "--auditor",
            &auditor().key().unwrap().to_string(),
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let writing = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(paths.as_bytes()));
        python.wait_with_output().unwrap()
    });
    let said = String::from_utf8(writing.stdout).unwrap();
    assert_eq!(said.lines().count(), cases.len());
    let differ: Vec<_> = cases
        .iter()
        .zip(said.lines())
        .map(|(case, line)| (&case.about, ours(case), theirs(line), line))
        .filter(|(_, ours, theirs, _)| ours != theirs)
        .collect();
    assert!(differ.is_empty(), "{} of {} differ: {differ:#?}", differ.len(), cases.len());
}
