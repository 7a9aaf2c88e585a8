// A subject connects an application that is made with openid-client; passkeys are judged by @simplewebauthn/server besides. Argument: as
// for `connect.mjs`. Prints what came of it as one JSON object; leaves with 1 and says why if anything is not as it should be.

import assert from "node:assert/strict";
import * as openid from "openid-client";
import { answer, browser, close, person, redirect } from "./application.mjs";
import { jwk, pair, task } from "./client.mjs";
import { secondOpinion } from "./webauthn.mjs";

const { issuer, resource, portal, enrol, path, scope } = task;
const config = await openid.discovery(new URL(issuer), task.client_id, undefined, openid.PrivateKeyJwt(pair.privateKey), {
  algorithm: "oauth2",
  execute: [openid.allowInsecureRequests],
});
const DPoP = openid.getDPoPHandle(config, pair);

try {
  console.log(JSON.stringify(await visit()));
} finally {
  await close();
}

async function visit() {
  // On its own account.
  const own = await openid.clientCredentialsGrant(config, { scope: task.own_scope, resource }, { DPoP });
  assert.equal(own.token_type, "dpop");
  const alone = await read(own.access_token);
  const said = await settled(() => openid.tokenIntrospection(config, own.access_token));
  assert.equal(said.cnf.jkt, await DPoP.calculateThumbprint());

  // For a subject.
  const { page } = await person();
  const opinion = await secondOpinion(page, portal);
  await page.goto(enrol);
  await page.click("text=Make a passkey");
  await page.waitForSelector("#codes:not([hidden])");
  await opinion.registration();
  await page.goto(`${portal}/connections`);
  await page.click("text=Sign out");
  await page.waitForURL((url) => url.pathname === "/sign-in");
  const first = await begin();
  await page.goto(String(first.url));
  await page.click("text=Sign in with a passkey");
  await page.waitForURL((url) => url.pathname.startsWith("/connect/"));
  await opinion.assertion();
  const tokens = await finish(first, await answer(page, "Agree"));
  assert.equal(tokens.authorization_details[0].grant, scope);
  const received = await read(tokens.access_token);

  const refreshed = await openid.refreshTokenGrant(config, tokens.refresh_token, undefined, { DPoP });
  assert.notEqual(refreshed.refresh_token, tokens.refresh_token);
  assert.equal((await read(refreshed.access_token)).name, received.name);
  const described = await openid.tokenIntrospection(config, refreshed.access_token);
  assert.ok(described.active);
  assert.equal(described.client_id, task.client_id);

  // What openid-client finds wrong before it is sent, and what we do.
  const second = await begin();
  await page.goto(String(second.url));
  const back = await answer(page, "Agree");
  await assert.rejects(finish({ ...second, state: "another" }, back), ({ cause }) => /"state"/.test(cause.message));
  const elsewhere = new URL(back);
  elsewhere.searchParams.set("iss", "https://login.example");
  await assert.rejects(finish(second, elsewhere), ({ cause }) => /"iss"/.test(cause.message));
  await assert.rejects(finish({ ...second, verifier: openid.randomPKCECodeVerifier() }, back), (refused) => refused.error === "invalid_grant");
  const another = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair("ES256"));
  await assert.rejects(
    openid.refreshTokenGrant(config, refreshed.refresh_token, undefined, { DPoP: another }),
    (refused) => refused instanceof openid.ResponseBodyError,
  );

  await openid.tokenRevocation(config, refreshed.refresh_token);
  assert.deepEqual(await openid.tokenIntrospection(config, refreshed.access_token), { active: false });
  await assert.rejects(openid.refreshTokenGrant(config, refreshed.refresh_token, undefined, { DPoP }), (refused) => refused.error === "invalid_grant");
  assert.equal(await statusOf(refreshed.access_token), 403);
  return { alone, received, algorithm: jwk.kty };
}

async function begin() {
  const [verifier, state] = [openid.randomPKCECodeVerifier(), openid.randomState()];
  const parameters = {
    redirect_uri: redirect,
    state,
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    authorization_details: JSON.stringify([{ type: "portcullis_access", grant: scope }]),
  };
  return { url: await openid.buildAuthorizationUrlWithPAR(config, parameters, { DPoP }), verifier, state };
}

function finish({ verifier, state }, url) {
  return openid.authorizationCodeGrant(config, url, { pkceCodeVerifier: verifier, expectedState: state }, undefined, { DPoP });
}

// For ten seconds after its start a node takes no assertion that stands alone: it may be one of before.
async function settled(attempt) {
  for (let tries = 0; ; tries++) {
    try {
      return await attempt();
    } catch (refused) {
      if (refused.cause?.status !== 503 || tries === 40) throw refused;
      await new Promise((wait) => setTimeout(wait, 500));
    }
  }
}

async function ask(token) {
  return openid.fetchProtectedResource(config, token, new URL(path, resource), "GET", undefined, undefined, { DPoP });
}

async function read(token) {
  return (await ask(token)).json();
}

async function statusOf(token) {
  return (await ask(token)).status;
}
