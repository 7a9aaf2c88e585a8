"""Puts the questions of docs/open-data to an engine: open_data.py ENGINE DIRECTORY, questions as JSON on stdin, answers as JSON."""

import json
import os
import pathlib
import sys

engine, directory = sys.argv[1:]
sql = pathlib.Path(__file__).parents[2] / "docs" / "open-data" / engine
texts = {path.stem: path.read_text().replace("DIRECTORY", directory) for path in sql.glob("*.sql")}


def duckdb(questions):
    import duckdb

    connection = duckdb.connect()
    connection.execute(texts["access"])

    def literal(name, value):
        if name in ("since", "until"):
            return f"TIMESTAMPTZ '{value}+00'"
        return f"from_hex('{value}')" if name in ("lowest", "highest") else f"'{value}'"

    for question in questions:
        for name, value in question["values"].items():
            connection.execute(f"SET VARIABLE {name} = {literal(name, value)}")
        text = texts[question["file"]].rstrip().rstrip(";")
        rows = connection.execute(f"SELECT CAST(to_json(answer) AS VARCHAR) FROM ({text}) AS answer").fetchall()
        yield [json.loads(row) for (row,) in rows]


def clickhouse(questions):
    from chdb.session import Session

    session = Session()
    session.query("CREATE DATABASE portcullis")
    session.query("USE portcullis")
    session.query(texts["access"])
    for question in questions:
        for name, value in question["values"].items():
            session.query(f"SET param_{name} = '{value}'")
        text = texts[question["file"]].rstrip().rstrip(";")
        answer = session.query(text, "JSONEachRow")
        yield [json.loads(line) for line in str(answer).splitlines()]


print(json.dumps(list({"duckdb": duckdb, "clickhouse": clickhouse}[engine](json.load(sys.stdin)))))
sys.stdout.flush()
os._exit(0)  # An engine that falls over while Python takes it down has answered all the same.
