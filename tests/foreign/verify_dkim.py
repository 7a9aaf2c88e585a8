"""Verifies the first DKIM signature of a message with dkimpy. Argument: JSON with `message`, `name` and `record`.

Prints `good` or `bad`. `name` must be the one it looks the key up under.
"""

import json
import sys

import dkim

task = json.loads(sys.argv[1])


def look_up(name, timeout=5):
    asked = name.decode() if isinstance(name, bytes) else name
    return task["record"].encode() if asked.rstrip(".") == task["name"] else None


good = dkim.verify(task["message"].encode("latin-1"), dnsfunc=look_up)
print("good" if good else "bad")
