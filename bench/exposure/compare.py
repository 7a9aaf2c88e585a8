"""Our answers and times beside the peers': one table, one JSON document, exit 1 if an answer differs.

DIR holds what `portcullis bench exposure --dir DIR` (or sample.py) wrote; the peers' databases go to DIR/peers.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import checksum
import evict
import interchange

HERE = Path(__file__).parent
PEERS = ["duckdb", "duckdb-copies", "clickhouse", "clickhouse-rollups", "clickhouse-copies"]
COLD_RUNS = 5

# Best peer / ours that we want at least, by the first letters of the question's name; `cold`: of a first touch.
WANTED = {"q1": 5, "q2": 20, "q3": 20, "q4": 10, "q5": 10}
WANTED_COLD = 1


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("dir", type=Path)
    arguments.add_argument("--ours", default="ours", help="our version, as it is printed")
    arguments.add_argument("--answers-only", choices=["duckdb"], help="no times: checksums of the answers, from Parquet")
    arguments = arguments.parse_args()
    root = arguments.dir
    forget_other_rows(root)
    interchange.write_parquet(root)
    if arguments.answers_only:
        checksum.check(root)
        return
    busy = os.getloadavg()[0]
    peers = [measure(root, peer) for peer in PEERS]
    document = as_document(root, arguments.ours, peers, busy)
    (root / "peers.json").write_text(json.dumps(document, indent=1) + "\n")
    print(as_table(document))


def forget_other_rows(root):
    """Drops the peers' databases unless they were loaded from these very columns."""
    files = sorted([*(root / "columns").iterdir(), *(root / "subjects").iterdir()])
    state = json.dumps([[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files])
    mark = root / "peers" / "of.json"
    if not mark.exists() or mark.read_text() != state:
        shutil.rmtree(root / "peers", ignore_errors=True)
        (root / "peers").mkdir()
        mark.write_text(state)


def measure(root, peer):
    """One peer in a process of its own, so that peers share neither memory nor threads; then its first touches."""
    found = in_a_process(root, peer)
    subjects = [question["name"] for question in interchange.questions(root) if question["kind"] == "subject"]
    found["cold"] = {name: first_touch(root, peer, name) for name in subjects if name in found["answers"]}
    return found


def first_touch(root, peer, name):
    runs = []
    for _ in range(COLD_RUNS):
        evict.evict(root / "peers", peer.split("-")[0])
        runs.append(round(in_a_process(root, peer, name), 3))
    return {"median_ms": statistics.median(runs), "runs": runs}


def in_a_process(root, *arguments):
    peer, *rest = arguments
    done = subprocess.run([sys.executable, HERE / "measure.py", peer, root, *rest], stdout=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"{peer}: failed, see above")
    return json.loads(done.stdout)


def as_document(root, version, peers, busy):
    rows, ours = len(interchange.columns(root)["time"]), interchange.ours(root)
    questions = []
    for question in interchange.questions(root):
        name = question["name"]
        mine, theirs = ours[name], {peer["peer"]: peer["answers"][name] for peer in peers if name in peer["answers"]}
        wanted = next((ratio for prefix, ratio in WANTED.items() if name.lower().startswith(prefix)), None)
        questions.append(compared(name, mine["rows"], mine["median_ms"], theirs, wanted))
        cold = {peer["peer"]: peer["cold"][name] for peer in peers if name in peer["cold"]}
        if cold:
            questions.append(compared(f"{name}, cold", mine["rows"], mine["cold_ms"], cold, WANTED_COLD))
    return {
        "schema": "portcullis.bench/1",
        "name": "exposure.peers",
        "unit": "milliseconds, median",
        "rows": rows,
        "questions": questions,
        "bytes_per_row": {
            "columns": sum(int(kind[1:]) // 8 for kind in interchange.COLUMNS.values()),
            "ours": ours["_index"]["bytes"] / rows if "_index" in ours else None,
            **{peer["peer"]: peer["load"]["bytes"] / rows for peer in peers},
        },
        "load_seconds": {peer["peer"]: peer["load"]["seconds"] for peer in peers},
        "peak_bytes": {peer["peer"]: peer["peak_bytes"] for peer in peers},
        "runs": {peer["peer"]: peer["answers"] for peer in peers},
        "versions": {"portcullis": version, **{peer["peer"]: peer["version"] for peer in peers}},
        "machine": {"cores": len(os.sched_getaffinity(0)), "processor": processor(), "kernel": platform.release(), "load_before": busy},
    }


def compared(name, rows, ours, theirs, wanted):
    """`ratio`: the fastest peer's time / ours, above 1 where ours is faster."""
    times = {peer: found["median_ms"] for peer, found in theirs.items()}
    best = min(times, key=times.get)
    ratio = times[best] / ours if ours else None
    return {"name": name, "rows": rows, "ours": ours, "peers": times, "best": best, "peer": times[best], "ratio": ratio, "wanted": wanted}


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def as_table(document):
    def number(value, unit=""):
        return "-" if value is None else f"{value:.3g}{unit}" if value < 1_000 else f"{value:,.0f}{unit}"

    versions, machine = document["versions"], document["machine"]
    lines = [
        f"{document['rows']:,} rows; warm medians in milliseconds, result fetched whole; answers equal, row by row",
        "",
        "| question | rows of the answer | ours | " + " | ".join(PEERS) + " | best peer / ours | wanted |",
        "|---" * (len(PEERS) + 5) + "|",
    ]
    for question in document["questions"]:
        times = [number(question["peers"].get(peer)) for peer in PEERS]
        met = question["ratio"] is None or question["wanted"] is None or question["ratio"] >= question["wanted"]
        lines.append(
            f"| {question['name']} | {question['rows']:,} | {number(question['ours'])} | {' | '.join(times)}"
            f" | {number(question['ratio'])} | {number(question['wanted'])}{'' if met else ' MISSED'} |"
        )
    sizes = document["bytes_per_row"]
    for title, values in [("bytes per row", sizes), ("seconds to load", document["load_seconds"])]:
        lines.append(f"| {title} | | {number(values.get('ours'))} | {' | '.join(number(values[peer]) for peer in PEERS)} | | |")
    lines += [
        "",
        f"Bytes per row: of a peer's own tables; `-rollups` and `-copies` need the plain table as well. The columns themselves: {sizes['columns']}.",
        f"{versions['portcullis']}; {versions['duckdb']}; {versions['clickhouse']}; 2 threads each.",
        f"{machine['cores']} cores, {machine['processor']}, Linux {machine['kernel']}; load average before the peers ran {machine['load_before']:.1f}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
