"""Which SQL file answers a question for a peer, and with which parameters."""

from interchange import DAY, HOUR, networks

# Rollup levels, shortest first: length of a bucket in microseconds. Weeks and months are floor(day / 7) and floor(day / 30).
LEVELS = {"hour": HOUR, "day": DAY, "week": 7 * DAY, "month": 30 * DAY}


def cover(begin, end, levels):
    """Disjoint ranges whose union is [begin, end): buckets of the longest level that fits, shorter ones and raw time at the ends.

    Returns, by level, ranges of bucket numbers, and at `raw` ranges of microseconds.
    """
    ranges = {level: [] for level in ("raw", *LEVELS)}

    def fill(begin, end, levels):
        if begin >= end:
            return
        if not levels:
            ranges["raw"].append((begin, end))
            return
        *shorter, level = levels
        length = LEVELS[level]
        first, last = -(-begin // length), end // length
        if first >= last:
            fill(begin, end, shorter)
            return
        ranges[level].append((first, last))
        fill(begin, first * length, shorter)
        fill(last * length, end, shorter)

    fill(begin, end, list(levels))
    return ranges


def condition(column, ranges):
    return " OR ".join(f"({column} >= {begin} AND {column} < {end})" for begin, end in ranges) or "false"


def network_condition(question):
    ranges = networks(question)
    single = [str(low) for low, high in ranges if low == high]
    parts = [f"network BETWEEN {low} AND {high}" for low, high in ranges if low != high]
    parts += [f"network IN ({', '.join(single)})"] if single else []
    return f"({' OR '.join(parts) or 'false'})"


def parameters(question):
    """The values of the placeholders in the SQL files, those of the rollups aside."""
    values = {name: question[name] for name in ("from", "to", "subject") if name in question}
    if question.get("integrations") is not None:
        values["integrations"] = ", ".join(str(integration) for integration in question["integrations"])
    if question.get("networks") is not None:
        values["networks"] = network_condition(question)
    if "class" in question:
        values["mask"] = 1 << question["class"]
    return values


def of_rollups(folder, question, name, values):
    """The SQL over rollups: without the levels that the window does not need, since an engine pays for each."""
    levels = ["hour"] if question["kind"] == "timeline" else LEVELS
    ranges = {level: found for level, found in cover(question["from"], question["to"], levels).items() if found}
    if question["kind"] == "timeline":
        if len(question.get("integrations") or ["all"]) != 1:
            raise ValueError(f"{question['name']}: distinct subjects of an hour do not add up over integrations")
        name += "-cut" if "raw" in ranges else ""
        values |= {"hour": condition("bucket", ranges.get("hour", [])), "raw": condition("time", ranges.get("raw", []))}
        return (folder / f"{name}.sql").read_text().format(**values)
    match list(ranges.items()):
        case [(level, [(first, last)])] if level != "raw" and last == first + 1 and name == "subjects" and len(question["integrations"]) == 1:
            values |= {"table": f"rollup_{level}", "bucket": first}
            return (folder / "subjects-bucket.sql").read_text().format(**values)
    branch = (folder / ("cover-all.sql" if name.endswith("-all") else "cover.sql")).read_text()
    branches = [
        branch.format(
            **values,
            table="access" if level == "raw" else f"rollup_{level}",
            ranges=condition("time" if level == "raw" else "bucket", found),
        )
        for level, found in ranges.items()
    ]
    return (folder / f"{name}.sql").read_text().format(**values, cover="UNION ALL\n".join(branches))


def statement(folder, question):
    """The SQL that answers `question` for the peer whose files are in `folder`; None if it has no answer of its own."""
    name, values = question["kind"], parameters(question)
    if name in ("subjects", "timeline", "countries") and question["integrations"] is None:
        name += "-all"
    if question.get("networks") is not None:
        name += "-network"
    path = folder / f"{name}.sql"
    if not path.exists():
        return None
    if folder.name.endswith("-rollups") and "from" in question:
        return of_rollups(folder, question, name, values)
    return path.read_text().format(**values)
