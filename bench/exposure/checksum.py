"""Checks answers when the peers do not fit: DuckDB answers from Parquet, and both answers are compared by count and sum of hashes.

The hash is DuckDB's own, over both sides, so that neither answer has to be sorted or held twice. No times are taken.
"""

import json
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

import interchange
import plan

SQL = Path(__file__).parent / "sql" / "duckdb"


def check(root):
    """Prints one line a question; exits 1 if an answer differs."""
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "8GB", "temp_directory": str(root / "peers" / "spill")})
    connection.execute("SET preserve_insertion_order = false")
    connection.execute(f"CREATE VIEW access AS SELECT * FROM read_parquet('{root / 'peers' / 'parquet'}/*.parquet')")
    wrong = []
    for question in interchange.questions(root):
        names = interchange.ANSWERS[question["kind"]]
        rows = interchange.answer(root, question)
        ours = pa.table({name: np.ascontiguousarray(rows[:, at]) for at, name in enumerate(names)})
        connection.register("ours", ours)
        expected = checksum(connection, names, "SELECT * FROM ours")
        found = checksum(connection, names, plan.statement(SQL, question))
        connection.unregister("ours")
        print(json.dumps({"name": question["name"], "rows": expected[0], "sum": str(expected[1]), "equal": found == expected}), flush=True)
        if found != expected:
            wrong.append(question["name"])
    if wrong:
        sys.exit(f"answers differ from DuckDB's: {', '.join(wrong)}")


def checksum(connection, names, query):
    """(rows, sum of the rows' hashes)"""
    values = ", ".join(f"{name}::UINTEGER" for name in names)
    return connection.execute(f"SELECT count(*), coalesce(sum(hash({values})::HUGEINT), 0) FROM ({query})").fetchall()[0]
