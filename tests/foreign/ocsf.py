"""Checks OCSF events, one JSON object a line on stdin, against the schemas that OCSF published: those of the events' own release, and of
later ones, which have to take them too. Says how many there were of each class."""

import collections
import json
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

events = [json.loads(line) for line in sys.stdin]
releases = sorted({event["metadata"]["version"] for event in events} | {"1.5.0", "1.8.0"})
counts = collections.Counter()
for release in releases:
    schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema(release))
    validators = {}
    for event in events:
        uid = event["class_uid"]
        if uid not in validators:
            schema = schemas.get_class_schema(schemas.lookup_class_name_from_uid(uid), [])
            jsonschema.Draft202012Validator.check_schema(schema)
            validators[uid] = jsonschema.Draft202012Validator(schema)
        for error in validators[uid].iter_errors(event):
            sys.exit(f"OCSF {release}, {event['metadata']['uid']}: {error.json_path}: {error.message}")
        if release == event["metadata"]["version"]:
            counts[uid] += 1
print(json.dumps({"releases": releases, "counts": counts}))
