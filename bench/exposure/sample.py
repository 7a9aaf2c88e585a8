"""A small world in the benchmark's interchange, its questions, and each answer by brute force in numpy.

It is the independent reference: it shares no code and no idea of an index with what is measured. `test.sh` runs every peer against it.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

import interchange
from interchange import DAY, HOUR

DAYS = 100
START = 20_580 * DAY  # 20580 = 30 * 686 = 7 * 2940: begins a bucket of every length
INTEGRATIONS, OPERATIONS, COUNTRIES = 200, 60, 40
HEAVIEST, SUSPECT = 0, 7
NEVER, RARE = 15, 14  # class bits: read by nobody, read by two integrations
INCIDENT = (START + 61 * DAY + 13 * HOUR + 17 * 60_000_000 + 123_457, 3 * HOUR)  # begin, length
ATTACKER = (0xC6336440, 0xCB007105)  # 198.51.100.64, 203.0.113.5


def rows(count, seed):
    rng = np.random.default_rng(seed)
    subjects = min(10_000_000, max(1_000, count // 5))
    stolen = count // 75  # 1.3 %, what the incident adds
    usual = count - stolen
    weight = 1 / np.arange(1, INTEGRATIONS + 1)
    masks = np.array([sum(1 << int(bit) for bit in rng.choice(14, rng.integers(1, 5), replace=False)) for _ in range(OPERATIONS)])

    when = START + rng.integers(0, DAYS * DAY, usual)
    integration = rng.choice(INTEGRATIONS, usual, p=weight / weight.sum())
    credential = integration * 4 + rng.integers(0, 4, usual)
    subject = (subjects * rng.random(usual) ** 1.5).astype(np.int64)  # some are read far more than others
    when = np.concatenate([when, INCIDENT[0] + rng.integers(0, INCIDENT[1], stolen)])
    credential = np.concatenate([credential, np.full(stolen, SUSPECT * 4)])
    integration = np.concatenate([integration, np.full(stolen, SUSPECT)])
    subject = np.concatenate([subject, rng.integers(0, subjects, stolen)])
    operation = rng.integers(0, OPERATIONS, count)
    classes = masks[operation]
    classes[((integration == 3) | (integration == 90)) & (rng.random(count) < 0.01)] |= 1 << RARE
    network = 0x0A000000 + credential * 16 + rng.integers(0, 3, count)
    network[usual:] = np.where(rng.random(stolen) < 0.9, ATTACKER[0] + rng.integers(0, 16, stolen), ATTACKER[1])

    order = np.argsort(when, kind="stable")
    values = dict(time=when, integration=integration, credential=credential, operation=operation, network=network, subject=subject, classes=classes)
    values = {name: value[order] for name, value in values.items()}
    values["record"] = np.arange(count)
    country = np.minimum(COUNTRIES * rng.random(subjects) ** 3, COUNTRIES - 1)
    return values, country.astype(np.uint8)


def questions(values):
    begin, length = INCIDENT
    suspect = values["integration"] == SUSPECT
    victim = int(values["subject"][suspect & (values["time"] >= begin)][0])
    def ask(name, kind, begin, length, **more):
        return {"name": name, "kind": kind, "from": begin, "to": begin + length, **more}
    return [
        ask("q1", "subjects", begin, length, integrations=[SUSPECT]),
        ask("q1b", "subjects", START + 30 * DAY, 30 * DAY, integrations=[HEAVIEST]),
        ask("q1c", "subjects", START + 21 * DAY + 5 * HOUR + 654_321, 44 * DAY, integrations=[HEAVIEST]),
        ask("q1f", "subjects", START, 90 * DAY, integrations=None),
        ask("q2", "subject", START, 90 * DAY, subject=victim),
        ask("q3", "subjects", begin - 9 * HOUR, DAY, integrations=None, networks=["198.51.100.64/28", "203.0.113.5/32"]),
        ask("q4", "timeline", begin // HOUR * HOUR - 24 * HOUR, 48 * HOUR, integrations=[SUSPECT]),
        ask("q4all", "timeline", begin // HOUR * HOUR - 3 * DAY, 7 * DAY, integrations=None),
        ask("q5", "countries", begin, length, integrations=[SUSPECT]),
        {"name": "q6never", "kind": "ever", "class": NEVER},
        {"name": "q6ever", "kind": "ever", "class": RARE},
        {"name": "q6whom", "kind": "readers", "class": RARE},
        # Not the benchmark's: what a peer's plan could get wrong.
        ask("two in one day", "subjects", START + 40 * DAY, DAY, integrations=[SUSPECT, HEAVIEST]),
        ask("two, not aligned", "subjects", START + 6 * DAY + 1, 37 * DAY + HOUR, integrations=[HEAVIEST, SUSPECT]),
        ask("within an hour", "subjects", START + 40 * DAY + HOUR + 7, HOUR // 2, integrations=[HEAVIEST]),
        ask("after the last row", "subjects", START + (DAYS + 1) * DAY, 2 * DAY + 1, integrations=None),
        ask("hours cut", "timeline", START + 40 * DAY + 1, 5 * HOUR, integrations=[HEAVIEST]),
        ask("hours of all cut", "timeline", START + 40 * DAY - 1, 2 * DAY, integrations=None),
        ask("hours within one", "timeline", START + 40 * DAY + 1, HOUR // 2, integrations=[HEAVIEST]),
        ask("two by country", "countries", START + 40 * DAY + 1, 9 * DAY, integrations=[SUSPECT, HEAVIEST]),
        {"name": "by nobody", "kind": "readers", "class": NEVER},
    ]


def brute_force(values, country, question):
    """The answer by looking at every row."""
    chosen = np.ones(len(values["time"]), bool)
    if "from" in question:
        chosen &= (values["time"] >= question["from"]) & (values["time"] < question["to"])
    if question.get("integrations") is not None:
        chosen &= np.isin(values["integration"], question["integrations"])
    if question.get("networks") is not None:
        chosen &= np.any([(values["network"] >= low) & (values["network"] <= high) for low, high in interchange.networks(question)], axis=0)
    if "subject" in question:
        chosen &= values["subject"] == question["subject"]
    if "class" in question:
        chosen &= (values["classes"] >> question["class"]) & 1 == 1
    at = {name: value[chosen] for name, value in values.items()}
    match question["kind"]:
        case "subjects":
            found, where = np.unique(at["subject"], return_inverse=True)
            masks = np.zeros(len(found), np.int64)
            np.bitwise_or.at(masks, where, at["classes"])
            return np.column_stack([found, masks])
        case "subject":
            return np.column_stack([at["record"], at["integration"], at["classes"]])
        case "timeline":
            hour, found = at["time"] // HOUR, []
            for bit in range(16):
                has = (at["classes"] >> bit) & 1 == 1
                pairs = np.unique(np.column_stack([hour[has], at["subject"][has]]), axis=0)
                hours, distinct = np.unique(pairs[:, 0], return_counts=True)
                found.append(np.column_stack([hours, np.full(len(hours), bit), distinct]))
            found = np.concatenate(found)
            return found[np.lexsort(found.T[::-1])]
        case "countries":
            return np.column_stack(np.unique(country[np.unique(at["subject"])], return_counts=True))
        case "ever":
            return np.array([[int(chosen.any())]])
        case "readers":
            return np.unique(at["integration"])[:, None]


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, required=True)
    arguments.add_argument("--dir", type=Path, required=True)
    arguments.add_argument("--seed", type=int, default=1)
    arguments = arguments.parse_args()
    for folder in ("columns", "subjects", "answers"):
        (arguments.dir / folder).mkdir(parents=True, exist_ok=True)

    values, country = rows(arguments.rows, arguments.seed)
    for name, kind in interchange.COLUMNS.items():
        values[name].astype(interchange.DTYPES[kind]).tofile(arguments.dir / "columns" / f"{name}.{kind}")
    country.tofile(arguments.dir / "subjects" / "country.u8")
    asked, ours = questions(values), {}
    (arguments.dir / "questions.json").write_text(json.dumps(asked, indent=1))
    for question in asked:
        begin = time.perf_counter()
        answer = brute_force(values, country, question)
        taken = (time.perf_counter() - begin) * 1e3
        answer.astype("<u4").tofile(arguments.dir / "answers" / f"{question['name']}.bin")
        ours[question["name"]] = {"median_ms": taken, "min_ms": taken, "runs": 1, "cold_ms": None, "rows": len(answer)}
    (arguments.dir / "ours.json").write_text(json.dumps(ours, indent=1))


if __name__ == "__main__":
    main()
