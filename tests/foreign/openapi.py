"""The authority's endpoints as schemathesis judges them by the document that the authority publishes about them: every answer has a status,
a type and a body that stand there, whatever is sent.

Usage: openapi.py ISSUER. Leaves with what schemathesis leaves with, after it printed why.
"""

import os
import subprocess
import sys
import tempfile

# What a client may say is more than its form: most of what is made up by the document's schemas is refused, and rightly.
LEFT_OUT = ("positive_data_acceptance",)

command = [
    os.path.join(os.path.dirname(sys.executable), "schemathesis"),
    "--no-color",
    "run",
    sys.argv[1] + "/openapi.json",
    "--exclude-checks",
    ",".join(LEFT_OUT),
    "--phases",
    "examples,coverage,fuzzing",
    "--max-examples",
    "60",
    "--seed",
    "9728",
    "--generation-database",
    "none",
    "--request-timeout",
    "20",
]
# It keeps notes where it runs.
with tempfile.TemporaryDirectory() as folder:
    # What it makes up depends on the order of sets, too.
    env = os.environ | {"PYTHONHASHSEED": "0"}
    sys.exit(subprocess.run(command, check=False, cwd=folder, env=env).returncode)
