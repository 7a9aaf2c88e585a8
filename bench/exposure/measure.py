"""One peer, in a process of its own: loads it if it is not loaded, asks every question, compares, prints one JSON document."""

import json
import re
import resource
import statistics
import sys
import time
from pathlib import Path

import interchange
import plan
from engine import ClickHouse, DuckDb
from interchange import DAY, HOUR

SQL = Path(__file__).parent / "sql"
ENGINES = {"duckdb": DuckDb, "clickhouse": ClickHouse}
RUNS_LEAST, RUNS_MOST, ENOUGH_SECONDS = 5, 15, 2.0


def open_engine(root, peer):
    base = peer.split("-")[0]
    engine = ENGINES[base](root / "peers" / base)
    engine.run((SQL / base / "settings.sql").read_text())
    return engine


def load(root, peer, engine):
    """Returns what loading took: {seconds, bytes}. `bytes`: of this peer's own tables."""
    done = root / "peers" / f"{peer}.loaded.json"
    if not done.exists():
        text = (SQL / peer / "load.sql").read_text().format(peers=root.resolve() / "peers")
        for table in re.findall("CREATE TABLE ([a-z_]+)", text):  # what a load that did not end left behind
            engine.run(f"DROP TABLE IF EXISTS {table}")
        begin, before = time.perf_counter(), engine.size()
        engine.run(text)
        if peer.endswith("-rollups"):
            fill(root, engine)
        loaded = {"seconds": round(time.perf_counter() - begin, 1), "bytes": engine.size() - before}
        done.write_text(json.dumps(loaded))
    return json.loads(done.read_text())


def fill(root, engine):
    """Fills the rollups window by window, since one GROUP BY over everything would not fit in memory."""
    when = interchange.columns(root)["time"]
    begin, end = int(when[0]), int(when[-1]) + 1
    one, of_all = ((SQL / "clickhouse-rollups" / name).read_text() for name in ("fill.sql", "fill-all.sql"))
    hours, days = 28 * 24, 28  # a window of four weeks: whole hours, days and weeks
    for table, source, column, length, window, unit in [
        ("rollup_hour", "access", "time", HOUR, 28 * DAY, 1),
        ("rollup_day", "rollup_hour", "bucket", 24, hours, HOUR),
        ("rollup_week", "rollup_day", "bucket", 7, days, DAY),
        ("rollup_month", "rollup_day", "bucket", 30, 30, DAY),
        ("rollup_hour_all", "rollup_hour", "bucket", 1, hours, HOUR),
    ]:
        for number in range(begin // unit // window, (end - 1) // unit // window + 1):
            values = {"table": table, "source": source, "time": column, "length": length, "from": number * window, "to": (number + 1) * window}
            engine.run((of_all if table == "rollup_hour_all" else one).format(**values))
        engine.run(f"OPTIMIZE TABLE {table} FINAL")


def ask(root, peer, engine, question, query):
    """Checks the answer, then times it warm, fetched whole into Arrow, with the settings that suit this question best."""
    table = engine.fetch(query)
    interchange.compare(root, question, interchange.as_rows(question["kind"], table))
    settings = best_settings(peer, engine, query)
    runs, begin = [], time.perf_counter()
    while len(runs) < RUNS_LEAST or (len(runs) < RUNS_MOST and time.perf_counter() - begin < ENOUGH_SECONDS):
        runs.append(milliseconds(engine, query + settings))
    runs = [round(run, 3) for run in runs]
    print(f"{peer}: {question['name']}: {statistics.median(runs)} ms {settings}", file=sys.stderr, flush=True)
    return {"median_ms": statistics.median(runs), "min_ms": min(runs), "runs": runs, "rows": table.num_rows, "settings": settings}


def best_settings(peer, engine, query):
    """A clause for the end of the query: no one setting is best for a thousand groups and for ten million."""
    path = SQL / peer.split("-")[0] / "variants.txt"
    if not path.exists():
        return ""
    variants = ["", *(f"SETTINGS {line}" for line in path.read_text().splitlines())]
    return min(variants, key=lambda variant: min(milliseconds(engine, query + variant) for _ in range(2)))


def milliseconds(engine, query):
    start = time.perf_counter()
    engine.fetch(query)
    return (time.perf_counter() - start) * 1e3


def cold(root, engine, question, query):
    """Milliseconds of the first touch. The engine itself is warmed first: its own start is not what is asked."""
    engine.fetch("SELECT 1 AS one")
    start = time.perf_counter()
    table = engine.fetch(query)
    taken = (time.perf_counter() - start) * 1e3
    interchange.compare(root, question, interchange.as_rows(question["kind"], table))
    return taken


def main():
    peer, root, *name = sys.argv[1:]
    root = Path(root)
    engine = open_engine(root, peer)
    asked = [(question, plan.statement(SQL / peer, question)) for question in interchange.questions(root)]
    if name:
        [(question, query)] = [(question, query) for question, query in asked if question["name"] == name[0]]
        print(json.dumps(cold(root, engine, question, query)))
        return
    loaded = load(root, peer, engine)
    answers = {question["name"]: ask(root, peer, engine, question, query) for question, query in asked if query is not None}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peer": peer, "version": engine.version, "load": loaded, "peak_bytes": peak, "answers": answers}))


if __name__ == "__main__":
    try:
        main()
    except interchange.Mismatch as mismatch:
        sys.exit(f"{sys.argv[1]}: {mismatch}")
