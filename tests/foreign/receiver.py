"""A receiver of signed messages that nobody here wrote the verification of: an HTTP server that checks each with the package
http-message-signatures and keeps what it says as JSON lines.

Usage: receiver.py TASK, a JSON object with `keys` (the address of the sender's JWK set) and `log`. Prints the port it listens at.
"""

import base64
import hashlib
import http.server
import json
import sys
import urllib.request

import http_sf
from cryptography.hazmat.primitives.asymmetric import ed25519
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms

task = json.loads(sys.argv[1])
kept = open(task["log"], "a", encoding="ascii")


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Keys(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id):
        for jwk in json.load(urllib.request.urlopen(task["keys"]))["keys"]:
            canonical = json.dumps({name: jwk[name] for name in ("crv", "kty", "x")}, separators=(",", ":"))
            thumbprint = hashlib.sha256(canonical.encode()).digest()
            if base64.urlsafe_b64encode(thumbprint).decode().rstrip("=") == key_id == jwk["kid"]:
                return ed25519.Ed25519PublicKey.from_public_bytes(from_base64url(jwk["x"]))
        raise KeyError(key_id)


class Message:
    def __init__(self, method, url, headers, body):
        self.method, self.url, self.headers, self.body = method, url, headers, body


def check(message):
    """The tag, if the one signature holds over the content and all that a message is told apart by."""
    digests = http_sf.parse(message.headers["content-digest"].encode(), tltype="dictionary")
    if digests["sha-256"][0] != hashlib.sha256(message.body).digest():
        raise ValueError("the digest is of another content")
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.ED25519, key_resolver=Keys())
    [result] = verifier.verify(message)
    covered = set(result.covered_components)
    wanted = {"@method", "@target-uri", "content-type", "content-digest", "idempotency-key"}
    if not {f'"{name}"' for name in wanted} <= covered:
        raise ValueError(f"covered is {covered}")
    return result.parameters["tag"]


def bad(message, **changed):
    members = vars(message) | changed
    try:
        check(Message(**members))
        return False
    except Exception:
        return True


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        url = f"http://{self.headers['host']}{self.path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        message = Message("POST", url, headers, body)
        try:
            said = {"tag": check(message)}
        except Exception as error:
            said = {"error": repr(error)}
        # What was changed on the way does not hold.
        said["changed"] = [
            bad(message, body=body + b" "),
            bad(message, url=url + "x"),
            bad(message, method="PUT"),
            bad(message, headers=headers | {"idempotency-key": '"another"'}),
            bad(message, headers=headers | {"content-type": "text/plain"}),
        ]
        kept.write(json.dumps(said | {"path": self.path, "body": json.loads(body)}) + "\n")
        kept.flush()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
