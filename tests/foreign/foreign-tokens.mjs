// An integration reads with tokens of an authorization server that is not the gateway's, which is `issuer.mjs`; and an attacker tries.
// Argument: as for `client.mjs`, with that server as `issuer`, and { own_issuer, own_client, own_scope, path, other_path, act }.
//   own_issuer, own_client, own_scope   the gateway's own authority, and who we are there
//   path         what the integration may read, on its own account and of the subject in it
//   other_path   of somebody else
//   act          "all"; "refused" with `code`: every token is refused with it; "misled": it names keys elsewhere on this machine, and the
//                node was just started
// Prints what came of it as one JSON object; leaves with 1 and says why if anything is not as it should be.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import * as oauth from "oauth4webapi";
import { algorithm, client, jwk, options, pair, proofs, read, server, task, withNonce } from "./client.mjs";

const { issuer, resource, path } = task;
const subject = path.split("/").at(-1);
const auth = oauth.PrivateKeyJwt(pair.privateKey);
const thumbprint = await proofs.calculateThumbprint();
const now = () => Math.floor(Date.now() / 1000);

console.log(JSON.stringify(await { all: visit, refused, misled }[task.act]()));

// Whatever it is tried with: signed and opaque.
async function refused() {
  const answers = [];
  for (const who of ["app", "app-opaque"]) answers.push(await answerTo(await obtain(who)));
  assert.deepEqual(answers, [task.code, task.code]);
  return { answers };
}

// The right keys, at another place on this machine than the one that the operator named.
async function misled() {
  let visits = 0;
  const keys = await (await fetch(server.jwks_uri)).text();
  const inside = createServer((_, response) => {
    visits++;
    response.end(keys);
  });
  await new Promise((listening) => inside.listen(0, "127.0.0.1", listening));
  await tell({ metadata: { jwks_uri: `http://localhost:${inside.address().port}/jwks` } });
  assert.equal(await answerTo(await obtain("app")), "503 unavailable");
  inside.close();
  assert.equal(visits, 0);
  return { visits };
}

async function visit() {
  const received = {};

  // Signed, by each of its keys, and opaque.
  for (const kid of ["es", "ps", "ed"]) {
    await tell({ sign: kid });
    received[kid] = await json(await obtain("app"), path);
  }
  await tell({ sign: "es" });
  const signed = await obtain("app");
  const opaque = await obtain("app-opaque");
  assert.ok(!opaque.includes("."), opaque);
  received.opaque = await json(opaque, path);
  received.opaque = await json(opaque, path);
  assert.deepEqual(await asked(), { "/token/introspection": 1 }, "one question for two requests, and no document twice");

  // A subject delegates: its token reads of it and of nobody else.
  for (const who of ["app", "app-opaque"]) {
    const delegated = await delegate(who, subject);
    received[`delegated to ${who}`] = await json(delegated, path);
    assert.equal(await answerTo(delegated, task.other_path), "404 not_found", who);
  }
  assert.equal(await answerTo(await obtain("app", "read-mine")), "403 not_permitted", "a grant of a subject's, and no subject");

  // The metadata by which a client finds whose tokens are taken (RFC 9728).
  const url = new URL(resource);
  const described = await oauth.processResourceDiscoveryResponse(url, await oauth.resourceDiscoveryRequest(url, options));
  assert.deepEqual(described.authorization_servers, [task.own_issuer, issuer]);

  const attacks = await attack(signed, opaque);

  // Its keys change: the next one is found, and the last one forgotten with what it signed.
  await tell({ shown: ["es", "next"], sign: "next" });
  const next = await obtain("app");
  // There is no second look within five seconds of one, so that made-up names cause none.
  received.rotated = await eventually(() => answerTo(next), "200");
  assert.equal(await answerTo(signed), "200", "both keys are its");
  await tell({ shown: ["next"] });
  await eventually(() => answerTo(made({}, { kid: "made-up" })), "401 invalid_token", async () => (await asked())["/jwks"] === 1);
  assert.equal(await answerTo(signed), "401 invalid_token", "its key is gone, and it was known");
  assert.equal(await answerTo(next), "200");

  // It takes a token back: what was said of it a moment ago holds for 15 s and no longer.
  await oauth.processRevocationResponse(await oauth.revocationRequest(server, { client_id: "app-opaque" }, auth, opaque, options));
  const began = Date.now();
  await eventually(() => answerTo(opaque), "401 invalid_token");
  assert.ok(Date.now() - began < 16_000);

  // It is gone: nobody is let in whom it was not asked about.
  const unasked = await obtain("app-opaque");
  await tell({ down: true });
  assert.equal(await answerTo(unasked), "503 unavailable");
  assert.equal(await answerTo(next), "200", "its keys are known");
  await tell({ down: false });
  await eventually(() => answerTo(unasked), "200");
  return { received, attacks };
}

// Each is a token that would be taken, with one thing wrong.
async function attack(signed, opaque) {
  const other = await oauth.generateKeyPair("ES256", { extractable: true });
  const otherProofs = oauth.DPoP(client, other);
  const own = await ownToken();
  const ownKid = JSON.parse(Buffer.from(own.split(".")[0], "base64url")).kid;
  const idToken = await idTokenOf("app");
  const invalid = "401 invalid_token";
  const tries = [
    ["nothing wrong", made({}), "200"],
    ["another audience", made({ aud: "https://elsewhere.example" }), invalid],
    ["us beside another audience", made({ aud: [resource, "https://elsewhere.example"] }), invalid],
    ["our authority as the audience", made({ aud: task.own_issuer }), invalid],
    ["no audience", made({ aud: undefined }), invalid],
    ["another issuer", made({ iss: "https://login.example" }), invalid],
    ["our own issuer, signed by it", made({ iss: task.own_issuer }), invalid],
    ["our own issuer and the name of our key", made({ iss: task.own_issuer }, { kid: ownKid }), invalid],
    ["its issuer, and the name of our key", made({}, { kid: ownKid }), invalid],
    ["no issuer", made({ iss: undefined }), invalid],
    ["alg none", made({}, { alg: "none" }), invalid],
    ["HS256 by the public key", made({}, { alg: "HS256" }), invalid],
    ["RS256, by a key that is for it", made({}, { alg: "RS256", kid: "rs" }, "rs"), invalid],
    ["RS256, by a key that is for PS256", made({}, { alg: "RS256", kid: "ps" }, "ps"), invalid],
    ["RS256, with the name of an EC key", made({}, { alg: "RS256" }, "rs"), invalid],
    ["a key of its that it does not show", made({}, { kid: "next" }, "next"), invalid],
    ["a key sent along", made({}, { jwk, kid: undefined }), invalid],
    ["a critical extension", made({}, { crit: ["exp"] }), invalid],
    ["a JWT and no access token", made({}, { typ: "JWT" }), invalid],
    ["no type", made({}, { typ: undefined }), invalid],
    ["an ID token that it issued", idToken, invalid],
    ["bound to nothing", made({ cnf: undefined }), invalid],
    ["bound to a key that is not registered", made({ cnf: { jkt: await otherProofs.calculateThumbprint() } }), invalid, otherProofs],
    ["bound to another key than the proof's", made({}), "401 invalid_dpop_proof", otherProofs],
    ["bound to a key and more", made({ cnf: { jkt: thumbprint, osc: "x" } }), invalid],
    ["bound to a certificate", made({ cnf: { "x5t#S256": thumbprint } }), invalid],
    ["a client that is not mapped", made({ client_id: "stranger" }), invalid],
    ["a client that is one of ours", made({ client_id: task.own_client, sub: task.own_client }), invalid],
    ["no client", made({ client_id: undefined }), invalid],
    ["a scope that is not mapped", made({ scope: "write" }), invalid],
    ["no scope", made({ scope: undefined }), invalid],
    ["two grants at once", made({ scope: "read read-mine" }), invalid],
    ["a grant by its name here", made({ scope: task.own_scope }), invalid],
    ["narrowed in words that are not ours", made({ authorization_details: [] }), invalid],
    ["expired", made({ exp: now() - 1 }), invalid],
    ["from the future", made({ iat: now() + 60 }), invalid],
    ["not before a minute from now", made({ nbf: now() + 60 }), invalid],
    ["good for a day", made({ exp: now() + 86_400 }), invalid],
    ["no end", made({ exp: undefined }), invalid],
    ["no beginning", made({ iat: undefined }), invalid],
    ["our own token still", own, "200"],
  ];
  await tell({ shown: ["es", "ps", "ed", "rs"] });
  for (const [what, token, expected, by] of tries) assert.equal(await answerTo(token, path, by), expected, what);

  // As Bearer, proof or not.
  for (const token of [signed, opaque]) {
    const headers = { authorization: `Bearer ${token}` };
    assert.equal((await fetch(new URL(path, resource), { headers })).status, 401, "Bearer");
  }

  // What it may say of an opaque token and is not believed.
  for (const [what, introspection] of [
    ["another audience", { aud: "https://elsewhere.example" }],
    ["no audience", { aud: null }],
    ["another issuer", { iss: "https://login.example" }],
    ["bound to nothing", { cnf: null }],
    ["bound to another key", { cnf: { jkt: await otherProofs.calculateThumbprint() } }],
    ["active in a word", { active: "true" }],
    ["expired", { exp: now() - 1 }],
    ["no end", { exp: null }],
    ["a client that is not mapped", { client_id: "stranger" }],
    ["a scope that is not mapped", { scope: "write" }],
    ["narrowed", { authorization_details: [] }],
  ]) {
    const token = await obtain("app-opaque");
    await tell({ introspection });
    assert.equal(await answerTo(token), invalid, `introspected: ${what}`);
    await tell({ introspection: null });
  }

  // Who holds no registered key has nobody asked, whatever it sends; nor does who has no proof at all.
  await tell({});
  const random = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64url");
  assert.equal(await answerTo(random, path, otherProofs), invalid);
  const unproved = await fetch(new URL(path, resource), { headers: { authorization: `DPoP ${random}` } });
  assert.equal(unproved.status, 401);
  assert.deepEqual(await asked(), {}, "a stranger's token is not asked about");
  assert.equal(await answerTo(random), invalid, "made up by who is registered");
  assert.deepEqual(await asked(), { "/token/introspection": 1 });
  return tries.length;
}

// A token as it would make it, with other claims or another header, signed by one of its keys.
async function made(claims, header, by) {
  const body = {
    header: { typ: "at+jwt", alg: "ES256", kid: "es", ...header },
    claims: {
      iss: issuer, aud: resource, sub: "app", client_id: "app", scope: "read", jti: crypto.randomUUID(),
      iat: now(), exp: now() + 300, cnf: { jkt: thumbprint }, ...claims,
    },
    by,
  };
  return (await fetch(`${issuer}/forge`, { method: "POST", body: JSON.stringify(body) })).text();
}

async function obtain(client_id, scope = "read") {
  const who = { client_id };
  const response = await oauth.clientCredentialsGrantRequest(server, who, auth, { scope }, { ...options, DPoP: proofs });
  return (await oauth.processClientCredentialsResponse(server, who, response)).access_token;
}

// Of the gateway's own authority.
async function ownToken() {
  const url = new URL(task.own_issuer);
  const ours = await oauth.processDiscoveryResponse(url, await oauth.discoveryRequest(url, { ...options, algorithm: "oauth2" }));
  const who = { client_id: task.own_client };
  return withNonce(async () => {
    const response = await oauth.clientCredentialsGrantRequest(ours, who, auth, { scope: task.own_scope }, { ...options, DPoP: proofs });
    return (await oauth.processClientCredentialsResponse(ours, who, response)).access_token;
  });
}

async function delegate(client_id, who, scope = "read-mine") {
  return (await codeFlow(client_id, who, scope)).access_token;
}

async function idTokenOf(client_id) {
  return (await codeFlow(client_id, subject, "openid read-mine")).id_token;
}

// A subject signs in there and is sent back with a code; a browser that has cookies and follows links is enough for its pages.
async function codeFlow(client_id, who, scope) {
  const client = { client_id };
  const verifier = oauth.generateRandomCodeVerifier();
  const back = "http://127.0.0.1/back";
  let url = new URL(server.authorization_endpoint);
  url.search = new URLSearchParams({
    client_id, response_type: "code", redirect_uri: back, scope, resource, state: "s",
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier), code_challenge_method: "S256",
  });
  const cookies = new Map();
  for (let steps = 0; !String(url).startsWith(back); steps++) {
    assert.ok(steps < 10, `lost at ${url}`);
    const atForm = url.pathname.startsWith("/interaction/");
    const form = new URLSearchParams({ prompt: "login", login: who, password: "x" });
    const response = await fetch(url, {
      method: atForm ? "POST" : "GET", redirect: "manual", body: atForm ? form : undefined,
      headers: { cookie: [...cookies].map((pair) => pair.join("=")).join("; ") },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [name, value] = cookie.split(";")[0].split("=");
      cookies.set(name, value);
    }
    assert.ok(response.headers.has("location"), `${response.status} at ${url}: ${await response.text()}`);
    url = new URL(response.headers.get("location"), url);
  }
  const parameters = oauth.validateAuthResponse(server, client, url, "s");
  const response = await oauth.authorizationCodeGrantRequest(server, client, auth, parameters, back, verifier, {
    ...options, DPoP: proofs, additionalParameters: { resource },
  });
  return response.json();
}

async function json(token, at) {
  return (await read(token, at)).json();
}

// Status and code, with a proof by our key or another.
async function answerTo(token, at = path, by = proofs) {
  const text = await token;
  const attempt = () => oauth.protectedResourceRequest(text, "GET", new URL(at, resource), undefined, null, { ...options, DPoP: by });
  let response;
  try {
    response = await withNonce(attempt);
  } catch (refused) {
    if (!(refused instanceof oauth.WWWAuthenticateChallengeError)) throw refused;
    assert.match(refused.response.headers.get("www-authenticate"), /resource_metadata="[^"]+\/.well-known\/oauth-protected-resource"/);
    response = refused.response;
  }
  return response.ok ? "200" : `${response.status} ${(await response.json()).code}`;
}

// Looks until it is as expected, and `also` is; there is a span in which it need not be.
async function eventually(look, expected, also = () => true) {
  const began = Date.now();
  for (;;) {
    const seen = await look();
    if (seen === expected && (await also())) return seen;
    assert.ok(Date.now() - began < 30_000, `${seen} in place of ${expected}`);
    await new Promise((wait) => setTimeout(wait, 100));
  }
}

async function tell(what) {
  await fetch(`${issuer}/tell`, { method: "POST", body: JSON.stringify(what) });
}

// What the gateway asked since the last word.
async function asked() {
  const { "/token": _, "/token/revocation": __, "/auth": ___, ...rest } = await (await fetch(`${issuer}/asked`)).json();
  return rest;
}
