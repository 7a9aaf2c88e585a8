"""An integration that signs its requests with the package http-message-signatures: honest ones, and ones changed after they were signed.

Usage: signed.py TASK, a JSON object with `resource`, `private_jwk` (a file) and `access_token`. Prints a JSON object with `answers`, in
order, and `accepted`: one request that was accepted, as it was sent.
"""

import base64
import copy
import hashlib
import http.client
import json
import re
import secrets
import socket
import sys
from datetime import datetime, timedelta
from urllib.parse import urlsplit

import http_sf
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

TASK = json.loads(sys.argv[1])
WHOLE = ("@method", "@target-uri", "authorization")
IN_PARTS = ("@method", "@authority", "@path", "@query", "authorization", "content-type")
BODY = b'{"name":"Ada"}'


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Key(HTTPSignatureKeyResolver):
    def __init__(self, jwk):
        number = from_base64url(jwk["d"])
        if jwk["kty"] == "OKP":
            self.private, self.algorithm = ed25519.Ed25519PrivateKey.from_private_bytes(number), algorithms.ED25519
            members = ("crv", "kty", "x")
        else:
            self.private = ec.derive_private_key(int.from_bytes(number), ec.SECP256R1())
            self.algorithm, members = algorithms.ECDSA_P256_SHA256, ("crv", "kty", "x", "y")
        canonical = json.dumps({name: jwk[name] for name in members}, separators=(",", ":"))
        self.id = base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).decode().rstrip("=")

    def resolve_private_key(self, key_id):
        return self.private

    def resolve_public_key(self, key_id):
        return self.private.public_key()


class Request:
    def __init__(self, method, target, body=None):
        self.method, self.target, self.body = method, target, body
        self.url = TASK["resource"] + target
        self.headers = {"Authorization": "HTTPSig " + TASK["access_token"]}
        if body is not None:
            self.headers["Content-Type"] = "application/json"

    def signed(self, key, covered=WHOLE, nonce=None, tag="portcullis", **options):
        signer = HTTPMessageSigner(signature_algorithm=key.algorithm, key_resolver=key)
        options.setdefault("key_id", key.id)
        if nonce is not None and "." not in nonce:
            nonce = f"{nonce}.{secrets.token_urlsafe(16)}"
        signer.sign(self, covered_component_ids=covered, nonce=nonce, tag=tag, body=self.body, **options)
        return self

    def raw(self):
        body = self.body or b""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {urlsplit(self.url).netloc}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(body)}"] if body else []
        return "\r\n".join(lines + ["", ""]).encode() + body


def send(raw):
    address = urlsplit(TASK["resource"])
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(raw)
        response = http.client.HTTPResponse(connection)
        response.begin()
        return response, response.read()


answers = []


def note(name, request):
    response, content = send(request.raw())
    challenge = response.headers.get("WWW-Authenticate") or ""
    error = re.search(r'HTTPSig error="([^"]+)"', challenge)
    answers.append({
        "name": name,
        "status": response.status,
        "code": json.loads(content or b"{}").get("code"),
        "error": error and error.group(1),
    })
    return response


def changed(request, **members):
    other = copy.deepcopy(request)
    for name, value in members.items():
        setattr(other, name, value)
    return other


key = Key(json.load(open(TASK["private_jwk"])))
stranger = copy.copy(key)
is_ed25519 = key.algorithm is algorithms.ED25519
stranger.private = ed25519.Ed25519PrivateKey.generate() if is_ed25519 else ec.generate_private_key(ec.SECP256R1())

read = lambda: Request("GET", "/users/11446498?fields=id")
write = lambda: Request("PUT", "/users/11446498?fields=id", BODY)

challenged = note("no nonce", read().signed(key))
nonce = re.search(r'nonce="([^"]+)"', challenged.headers["WWW-Authenticate"]).group(1)
[(wanted, parameters)] = [
    (items, parameters)
    for items, parameters in http_sf.parse(challenged.headers["Accept-Signature"].encode(), tltype="dictionary").values()
]
accept = {"covered": [name for name, _ in wanted], "nonce": parameters["nonce"], "tag": parameters["tag"]}

note("read", accepted := read().signed(key, nonce=nonce))
note("as Accept-Signature asks", read().signed(key, **accept))
note("in parts", write().signed(key, IN_PARTS, nonce=nonce))
note("written", write().signed(key, nonce=nonce))
note("algorithm not named", read().signed(key, nonce=nonce, include_alg=False))
note("replayed", accepted)

signed = write().signed(key, nonce=nonce)
note("other content", changed(signed, body=b'{"name":"Eve"}'))
note("other query", changed(signed, target="/users/11446498?fields=name"))
note("no query", changed(signed, target="/users/11446498"))
note("other path", changed(signed, target="/users/11446499?fields=id"))
note("other digest", changed(signed, headers=signed.headers | {"Content-Digest": "sha-256=:AAAA:"}))
note("unchanged after all", signed)
dated = read()
dated.headers["Date"] = "Sun, 29 Nov 2026 18:00:00 GMT"
note("only the date", dated.signed(key, ("date",), nonce=nonce))
note("nothing", read().signed(key, (), nonce=nonce))
note("a parameter for the query", read().signed(key, ("@method", "@authority", "@path", '"@query-param";name="fields"', "authorization"), nonce=nonce))
note("another's tag", read().signed(key, nonce=nonce, tag="other"))
note("another's key", read().signed(stranger, nonce=nonce))
note("another key named", read().signed(key, nonce=nonce, key_id="kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"))
note("too old", read().signed(key, nonce=nonce, created=datetime.now() - timedelta(seconds=70)))
note("expired", read().signed(key, nonce=nonce, expires=datetime.now() - timedelta(seconds=1)))
note("nonce made up", read().signed(key, nonce="AAAAAAAAAAAAAAAAAAAAAA"))
two = read().signed(key, nonce=nonce)
note("two signatures", two.signed(key, nonce=nonce, label="other", append_if_signature_exists=True))

print(json.dumps({"answers": answers, "accepted": accepted.raw().decode()}))
