"""The directory that the benchmark and its peers share: rows, questions, answers. README.md describes it.

Columns are mapped and never read whole, so that 1e9 rows need no more memory than 1e6.
"""

import ipaddress
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HOUR = 3_600_000_000
DAY = 24 * HOUR

# Files `columns/NAME.TYPE`: one little-endian value a row, rows sorted by (time, record).
COLUMNS = {
    "time": "u64",  # UTC microseconds
    "integration": "u16",
    "credential": "u16",
    "operation": "u16",
    "network": "u32",  # IPv4 address as an integer
    "subject": "u32",  # ordinal
    "classes": "u32",  # bitmap, 16 bits used
    "record": "u32",
}
DTYPES = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "u64": "<u8"}

# What one row of an answer holds, each a u32; rows are sorted by all of it, from the left.
ANSWERS = {
    "subjects": ("subject", "classes"),  # classes: OR over the subject's rows
    "subject": ("record", "integration", "classes"),
    "timeline": ("hour", "class", "subjects"),  # hours since the epoch, bit number, distinct subjects
    "countries": ("country", "subjects"),
    "ever": ("read",),  # one row, 1 or 0
    "readers": ("integration",),
}


class Mismatch(Exception):
    """A peer's answer differs from ours."""


def columns(root):
    return {name: np.memmap(root / "columns" / f"{name}.{kind}", DTYPES[kind], "r") for name, kind in COLUMNS.items()}


def countries(root):
    """Country number of each subject ordinal."""
    return np.memmap(root / "subjects" / "country.u8", DTYPES["u8"], "r")


def questions(root):
    return json.loads((root / "questions.json").read_text())


def ours(root):
    return json.loads((root / "ours.json").read_text())


def answer(root, question):
    """Our answer, one row per row."""
    path, width = root / "answers" / f"{question['name']}.bin", len(ANSWERS[question["kind"]])
    if path.stat().st_size == 0:
        return np.empty((0, width), "<u4")
    return np.memmap(path, "<u4", "r").reshape(-1, width)


def networks(question):
    """Inclusive ranges of addresses, as integers."""
    parsed = [ipaddress.IPv4Network(text) for text in question["networks"]]
    return [(int(network.network_address), int(network.broadcast_address)) for network in parsed]


def as_rows(kind, table):
    """An Arrow table in any order of rows as an answer: sorted, u32, contiguous."""
    rows = np.column_stack([table[name].to_numpy().astype("<u4") for name in ANSWERS[kind]])
    return rows[np.lexsort(rows.T[::-1])]


def compare(root, question, theirs):
    """Raises `Mismatch` with the first row that differs."""
    expected = answer(root, question)
    if np.array_equal(expected, theirs):
        return
    common = min(len(expected), len(theirs))
    differs = (expected[:common] != theirs[:common]).any(axis=1)
    row = int(differs.argmax()) if differs.any() else common
    raise Mismatch(
        f"{question['name']}: {len(expected)} rows of ours, {len(theirs)} of theirs; row {row} of"
        f" {ANSWERS[question['kind']]}: ours {expected[row : row + 1].tolist()}, theirs {theirs[row : row + 1].tolist()}"
    )


def write_parquet(root):
    """One Parquet file a day below `peers/parquet`, with the subject's country joined in; what every peer is loaded from.

    The join is done here, once, so that no peer pays for it at question time.
    """
    target = root / "peers" / "parquet"
    if target.exists():
        return target
    unfinished = root / "peers" / "parquet.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    rows, country = columns(root), countries(root)
    first, last = int(rows["time"][0]) // DAY, int(rows["time"][-1]) // DAY
    bounds = np.searchsorted(rows["time"], np.arange(first, last + 2, dtype="<u8") * DAY)
    for day, begin, end in zip(range(first, last + 1), bounds, bounds[1:]):
        chunk = {name: np.ascontiguousarray(column[begin:end]) for name, column in rows.items()}
        if len(chunk["classes"]) and int(chunk["classes"].max()) >= 1 << 16:
            raise ValueError(f"day {day}: a class above 15, which the peers' 16-bit columns cannot hold")
        chunk["classes"] = chunk["classes"].astype("<u2")
        chunk["country"] = country[chunk["subject"]]
        pq.write_table(pa.table(chunk), unfinished / f"{day}.parquet", compression="zstd", use_dictionary=False)
    ordinals = np.arange(len(country), dtype="<u4")
    pq.write_table(pa.table({"subject": ordinals, "country": np.asarray(country)}), root / "peers" / "subjects.parquet")
    unfinished.rename(target)
    return target
