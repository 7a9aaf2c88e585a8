"""An integration made with authlib, which speaks no DPoP: its proofs are signed by joserfc. It obtains a token by private_key_jwt, reads with
it, and verifies it as authlib's resource server does (RFC 9068).

Usage: client.py TASK, a JSON object with `issuer`, `resource`, `client_id`, `scope`, `private_jwk` (a file) and `path`. Prints a JSON object with
`received`, the answer to a read, and `algorithm`; leaves with 1 and says why if anything is not as it should be.
"""

import base64
import hashlib
import json
import sys
import time
import uuid

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oauth2.rfc9068.claims import JWTAccessTokenClaims
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, import_key

TASK = json.loads(sys.argv[1])
JWK = json.load(open(TASK["private_jwk"]))
JWK.pop("alg", None)
# authlib signs with the key as it stands, and takes a name of its own for the algorithm.
ALG = {"EC": "ES256", "OKP": "EdDSA"}[JWK["kty"]]
PUBLIC = {name: JWK[name] for name in ("kty", "crv", "x", "y") if name in JWK}
ISSUER, RESOURCE = TASK["issuer"], TASK["resource"]


def proof(method, url, nonce=None, token=None):
    claims = {"jti": str(uuid.uuid4()), "htm": method, "htu": url, "iat": int(time.time())}
    if nonce:
        claims["nonce"] = nonce
    if token:
        digest = hashlib.sha256(token.encode()).digest()
        claims["ath"] = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    header = {"typ": "dpop+jwt", "alg": ALG, "jwk": PUBLIC}
    registry = jws.JWSRegistry(algorithms=[ALG], strict_check_header=False)
    return jws.serialize_compact(header, json.dumps(claims), import_key(JWK), registry=registry)


def metadata():
    document = requests.get(ISSUER + "/.well-known/oauth-authorization-server", timeout=10).json()
    # Its own validation wants https, which loopback does without.
    said = AuthorizationServerMetadata(document)
    for name in ("issuer", "token_endpoint"):
        assert said[name].startswith(ISSUER), name
    said.validate_grant_types_supported()
    said.validate_token_endpoint_auth_methods_supported()
    said.validate_token_endpoint_auth_signing_alg_values_supported()
    return said


def attempt(endpoint, audience, lifetime, nonce):
    """A token, or the code of the error; and the nonce that came with either."""
    # The claims that authlib makes are an hour's and name the endpoint; those given here stand in their place. It writes the `jti` into
    # what it is given, so each request has a dictionary of its own.
    claims = {"exp": int(time.time()) + lifetime}
    if audience:
        claims["aud"] = audience
    method = PrivateKeyJWT(token_endpoint=endpoint, claims=claims, alg=ALG)
    session = OAuth2Session(TASK["client_id"], import_key(JWK), scope=TASK["scope"], token_endpoint_auth_method=method)
    nonces = []

    def note(response):
        nonces.append(response.headers.get("dpop-nonce"))
        return response

    session.register_compliance_hook("access_token_response", note)
    headers = {"DPoP": proof("POST", endpoint, nonce), "Accept": "application/json"}
    try:
        return session.fetch_token(endpoint, grant_type="client_credentials", headers=headers), None, nonces[-1]
    except OAuthError as refused:
        return None, refused.error, nonces[-1]


def obtain(server, audience, lifetime=60):
    """As `attempt`, once more with the nonce if one was asked for."""
    endpoint = server["token_endpoint"]
    token, error, nonce = attempt(endpoint, audience, lifetime, None)
    if error == "use_dpop_nonce":
        token, error, _ = attempt(endpoint, audience, lifetime, nonce)
    return token, error


def read(token):
    url = RESOURCE + TASK["path"]
    nonce = None
    for _ in range(2):
        headers = {"Authorization": "DPoP " + token, "DPoP": proof("GET", url, nonce, token)}
        answer = requests.get(url, headers=headers, timeout=10)
        nonce = answer.headers.get("dpop-nonce")
        if answer.status_code != 401:
            return answer
    return answer


def accepts(jwks, token, issuer=ISSUER, resource=RESOURCE):
    """As authlib's JWTBearerTokenValidator does, which cannot be told an algorithm and knows no EdDSA by itself."""
    essential = ("iss", "exp", "aud", "sub", "client_id", "iat", "jti")
    options = {name: {"essential": True} for name in essential}
    options["iss"]["value"], options["aud"]["value"] = issuer, resource
    try:
        opened = jwt.decode(token, KeySet.import_key_set(jwks), algorithms=["EdDSA", "ES256"])
        claims = JWTAccessTokenClaims(opened.claims, opened.header, options)
        claims.validate()
        return opened
    except JoseError:
        return None


server = metadata()
assert obtain(server, None) == (None, "invalid_client"), "the endpoint as the audience, which is what authlib writes by itself"
assert obtain(server, ISSUER, 3600) == (None, "invalid_client"), "an hour, which is what authlib writes by itself"
assert obtain(server, [ISSUER]) == (None, "invalid_client"), "the issuer in a list"
token, error = obtain(server, ISSUER)
assert error is None, error
assert token["token_type"] == "DPoP"
access_token = token["access_token"]

keys = requests.get(server["jwks_uri"], timeout=10).json()
opened = accepts(keys, access_token)
assert opened is not None
assert not accepts(keys, access_token, issuer="https://elsewhere.example")
assert not accepts(keys, access_token, resource="https://elsewhere.example")
head, body, signature = access_token.split(".")
flipped = ("B" if signature[10] == "A" else "A").join([signature[:10], signature[11:]])
assert not accepts(keys, ".".join([head, body, flipped]))

answer = read(access_token)
assert answer.status_code == 200, answer.text
print(json.dumps({"received": answer.json(), "algorithm": opened.header["alg"]}))
