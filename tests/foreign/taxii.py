"""A TAXII 2.1 server that nobody here wrote (OASIS medallion), with one collection. Prints the collection's address; then for each line on
standard input, a list of STIX objects as JSON, adds them as a client would and prints the status."""

import base64
import json
import logging
import sys
import threading

import medallion
from werkzeug.serving import make_server

logging.getLogger("werkzeug").setLevel(logging.ERROR)
COLLECTION = "91a7b528-80eb-42ed-a74d-c6fbd5a26116"
LOGIN = ("reader", "a word:of many")

root = {
    "information": {"title": "one", "versions": ["application/taxii+json;version=2.1"], "max_content_length": 9765625},
    "status": [],
    "collections": [
        {
            "id": COLLECTION,
            "title": "addresses",
            "can_read": True,
            "can_write": True,
            "media_types": ["application/stix+json;version=2.1"],
            "objects": [],
            "manifest": [],
        }
    ],
}
application = medallion.application_instance
medallion.set_config(application, "users", {"users": dict([LOGIN])})
# Two objects a page, so that there are pages.
medallion.set_config(application, "taxii", {"taxii": {"max_page_size": 2}})
backend = {"module": "medallion.backends.memory_backend", "module_class": "MemoryBackend"}
medallion.set_config(application, "backend", {"backend": backend})
application.medallion_backend.data = {"discovery": {"title": "t", "api_roots": []}, "root": root}
medallion.register_blueprints(application)

server = make_server("127.0.0.1", 0, application)
threading.Thread(target=server.serve_forever, daemon=True).start()
path = f"/root/collections/{COLLECTION}/"
print(f"http://127.0.0.1:{server.port}{path}", flush=True)

client = application.test_client()
headers = {
    "Authorization": "Basic " + base64.b64encode(":".join(LOGIN).encode()).decode(),
    "Accept": "application/taxii+json;version=2.1",
    "Content-Type": "application/taxii+json;version=2.1",
}
for line in sys.stdin:
    body = json.dumps({"objects": json.loads(line)})
    print(client.post(path + "objects/", data=body, headers=headers).status_code, flush=True)
