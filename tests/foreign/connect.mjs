// A subject connects an application: oauth4webapi is the application, Chromium the subject's browser, its virtual authenticator the
// subject's device. Argument: as for `client.mjs`, and { portal, enrol, path, pictures }.
//   portal      origin of the portal
//   enrol       a link with which the subject adds a passkey
//   path        what the application reads of the subject
// Prints what came of it as one JSON object; leaves with 1 and says why if anything is not as it should be.

import assert from "node:assert/strict";
import * as oauth from "oauth4webapi";
import { answer, auth, axe, browser, close, cookieOf, person, picture, push, redeem } from "./application.mjs";
import { client, options, proofs, read, server, task, withNonce } from "./client.mjs";

try {
  console.log(JSON.stringify(await visit()));
} finally {
  await close();
}

async function visit() {
  const { context, page, device } = await person();

  // A passkey, with the link.
  const before = await cookieOf(context, task.enrol);
  await page.goto(task.enrol);
  await axe(page, "enrolment");
  const planted = await cookieOf(context, task.enrol);
  await page.click("text=Make a passkey");
  await page.waitForSelector("#codes:not([hidden])");
  const codes = await page.locator("#list code").allInnerTexts();
  assert.equal(codes.length, 8);
  assert.notEqual((await cookieOf(context, task.enrol)).value, planted.value, "a session has a cookie of its own");
  assert.deepEqual([before, planted.httpOnly, planted.sameSite], [undefined, true, "Lax"]);
  await page.goto(task.enrol);
  assert.match(await page.innerText("main"), /used before/);

  // Signing out, and in with the passkey, on the way to a consent.
  await page.goto(`${task.portal}/connections`);
  await page.click("text=Sign out");
  await page.waitForURL((url) => url.pathname === "/sign-in");
  const first = await push();
  await page.goto(first.url);
  await page.waitForURL((url) => url.pathname === "/sign-in");
  await axe(page, "sign in");
  await picture(page, "sign-in");
  await page.click("text=Sign in with a passkey");
  await page.waitForURL((url) => url.pathname.startsWith("/connect/"));
  const shown = page.url();
  const heading = await page.innerText("h1");
  for (const [scheme, width] of [["light", 1280], ["dark", 360]]) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width, height: 800 });
    assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `no sideways scrolling at ${width}`);
    await axe(page, `consent, ${scheme}, ${width} wide`);
    await picture(page, `consent-${scheme}`);
  }
  await strangers(page, shown);

  // What was agreed to is less than what was asked, and the token says so.
  await page.uncheck(`input[name="class:${task.withhold}"]`);
  const { token, details } = await redeem(first, await answer(page, "Agree"));
  assert.equal(token.token_type, "dpop");
  assert.ok(!details.datatypes.includes(task.withhold), JSON.stringify(details));
  const received = await (await read(token.access_token, task.path)).json();

  // The same link leads nowhere a second time; nor does one that was swapped to another client.
  await page.goto(first.url);
  assert.match(await page.innerText("main"), /used before/);
  const swapped = await push();
  await page.goto(swapped.url.replace(task.client_id, "int_00000000000000000000000000"));
  assert.match(await page.innerText("main"), /used before/);

  // Refreshing rotates; of two at once one gets a token.
  const refreshed = await refresh(token.refresh_token);
  assert.notEqual(refreshed.refresh_token, token.refresh_token);
  const race = await Promise.allSettled([refresh(refreshed.refresh_token), refresh(refreshed.refresh_token)]);
  const won = race.filter((one) => one.status === "fulfilled").map((one) => one.value);
  assert.equal(won.length, 1, JSON.stringify(race.map((one) => one.status)));
  assert.equal((await introspect(won[0].access_token)).active, true);
  assert.equal((await introspect(won[0].refresh_token)).active, true);
  assert.deepEqual(await introspect(refreshed.refresh_token), { active: false });
  assert.equal((await read(won[0].access_token, task.path)).status, 200);

  // The subject ends it: what the application holds is worth nothing.
  await page.goto(`${task.portal}/connections`);
  await axe(page, "connections");
  await picture(page, "connections");
  await page.click("button.grave");
  await page.waitForSelector("text=ended");
  assert.equal(await statusOf(won[0].access_token), 403);
  assert.deepEqual(await introspect(won[0].access_token), { active: false });
  assert.equal(await codeOf(refresh(won[0].refresh_token)), "invalid_grant");

  // Declining, and a code that comes twice.
  const declined = await push();
  await page.goto(declined.url);
  const refusal = await answer(page, "Decline");
  assert.equal(refusal.searchParams.get("error"), "access_denied");
  assert.equal(refusal.searchParams.get("iss"), task.issuer);
  const twice = await push();
  await page.goto(twice.url);
  const back = await answer(page, "Agree");
  const issued = await redeem(twice, back);
  assert.equal(await codeOf(redeem(twice, back)), "invalid_grant");
  assert.equal(await statusOf(issued.token.access_token), 403, "a code that came twice ends what was issued on it");

  // Giving a token back, each kind.
  const given = await push();
  await page.goto(given.url);
  const third = await redeem(given, await answer(page, "Agree"));
  await revoke(third.token.access_token);
  assert.equal(await statusOf(third.token.access_token), 401);
  const fourth = await refresh(third.token.refresh_token);
  assert.equal((await read(fourth.access_token, task.path)).status, 200);
  await revoke(fourth.refresh_token);
  assert.equal(await statusOf(fourth.access_token), 403);
  await revoke("never-was");

  // A verifier that is not the request's, and a key that is not the one it named.
  const injected = await push();
  await page.goto(injected.url);
  assert.equal(await codeOf(redeem({ ...injected, verifier: oauth.generateRandomCodeVerifier() }, await answer(page, "Agree"))), "invalid_grant");

  await device.verified(false);
  await page.goto(`${task.portal}/connections`);
  await page.click("text=Sign out");
  await page.waitForURL((url) => url.pathname === "/sign-in");
  await page.click("text=Sign in with a passkey");
  await page.waitForFunction(() => !["", "Your device asks you now."].includes(document.getElementById("said").textContent));
  assert.match(page.url(), /\/sign-in/, "without user verification nobody is signed in");
  await device.verified(true);

  // A recovery code makes a new passkey, once, and signs nobody in by itself.
  await page.fill("#code", codes[0]);
  await page.click("text=Use it");
  await page.waitForURL((url) => url.pathname.startsWith("/enrol/"));
  await page.goto(`${task.portal}/connections`);
  assert.match(page.url(), /\/sign-in/);
  await page.fill("#code", codes[0]);
  await page.click("text=Use it");
  await page.locator("main").filter({ hasText: /used before/ }).waitFor();

  // A passkey that was removed signs nobody in.
  await page.goto(`${task.portal}/sign-in`);
  await page.click("text=Sign in with a passkey");
  await page.waitForURL((url) => url.pathname === "/connections");
  await page.click("button.remove");
  await page.waitForURL((url) => url.pathname === "/sign-in");
  await page.click("text=Sign in with a passkey");
  await page.waitForFunction(() => !["", "Your device asks you now."].includes(document.getElementById("said").textContent));
  assert.match(page.url(), /\/sign-in/);
  await context.close();
  return { heading, received, details };
}

function refresh(token) {
  return withNonce(async () => {
    const response = await oauth.refreshTokenGrantRequest(server, client, auth, token, { ...options, DPoP: proofs });
    return oauth.processRefreshTokenResponse(server, client, response);
  });
}

// For ten seconds after its start a node takes no assertion that stands alone: it may be one of before.
async function settled(ask) {
  for (let tries = 0; ; tries++) {
    const response = await ask();
    if (response.status !== 503 || tries === 40) return response;
    await new Promise((wait) => setTimeout(wait, 500));
  }
}

async function introspect(token) {
  const response = await settled(() => oauth.introspectionRequest(server, client, auth, token, options));
  return oauth.processIntrospectionResponse(server, client, response);
}

async function revoke(token) {
  await oauth.processRevocationResponse(await settled(() => oauth.revocationRequest(server, client, auth, token, options)));
}

async function statusOf(token) {
  try {
    return (await read(token, task.path)).status;
  } catch (refused) {
    if (refused instanceof oauth.WWWAuthenticateChallengeError) return refused.status;
    throw refused;
  }
}

async function codeOf(attempt) {
  try {
    await attempt;
  } catch (refused) {
    if (refused instanceof oauth.ResponseBodyError) return refused.error;
    throw refused;
  }
  return "none";
}

// What another site, another browser and a forged form get: nothing.
async function strangers(page, shown) {
  const other = await browser.newContext();
  const elsewhere = await other.newPage();
  await elsewhere.goto(shown);
  assert.match(await elsewhere.innerText("main"), /another browser's/);
  await other.close();

  const cookie = await cookieOf(page.context(), shown);
  const send = (headers, body) =>
    fetch(shown, { method: "POST", redirect: "manual", body, headers: { cookie: `${cookie.name}=${cookie.value}`, "content-type": "application/x-www-form-urlencoded", ...headers } });
  const origin = task.portal;
  const csrf = await page.getAttribute('input[name="csrf"]', "value");
  const forged = new URLSearchParams({ decision: "agree", days: "30", csrf: "x".repeat(43) });
  assert.equal((await send({ origin: "https://evil.example" }, forged)).status, 403);
  assert.equal((await send({}, forged)).status, 403, "no origin at all");
  assert.equal((await send({ origin, "sec-fetch-site": "cross-site" }, forged)).status, 403);
  assert.equal((await send({ origin }, forged)).status, 400, "a page's token is not guessed");
  const widened = new URLSearchParams({ decision: "agree", csrf, "class:user.payment": "on" });
  assert.equal((await send({ origin }, widened)).status, 400, "nothing that was asked for was ticked");

  const framed = (await fetch(shown)).headers;
  assert.match(framed.get("content-security-policy"), /frame-ancestors 'none'/);
  assert.equal(framed.get("x-frame-options"), "DENY");
  assert.equal(framed.get("cache-control"), "no-store");
  const led = await fetch(`${task.portal}/sign-in?next=https://evil.example/`);
  assert.ok(!(await led.text()).includes("evil.example"));
}
