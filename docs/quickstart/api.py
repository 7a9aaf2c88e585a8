"""A small account API, to try the quickstart with when you have none at hand: python3 api.py PORT"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAMES = ["Ada", "Bo", "Chen", "Dara", "Emre", "Fia", "Gil", "Hana"]


def account(number):
    name = NAMES[number % len(NAMES)]
    return {
        "id": f"acc_{number:06}",
        "name": name,
        "email": f"{name.lower()}.{number}@mail.example",
        "tenant": "north" if number % 2 else "south",
        "plan": "plus",
        "risk_score": number % 100,
    }


class Accounts(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        _, _, last = self.path.rpartition("/")
        known = self.path.startswith("/v1/accounts/acc_") and last[4:].isdigit()
        body = json.dumps(account(int(last[4:])) if known else {"error": "not found"}).encode()
        self.send_response(200 if known else 404)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Accounts).serve_forever()
