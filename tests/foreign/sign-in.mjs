// A subject signs in at the company's provider, which is `provider.mjs`, and connects an application. Argument: as for `client.mjs`, and
// { portal, provider, provider_client, path, pictures }: origin of the portal, issuer of the provider and what we are called there, what the
// application reads of the subject; `only_sign_in` for nothing else.
// Prints what came of it as one JSON object; leaves with 1 and says why if anything is not as it should be.

import assert from "node:assert/strict";
import { answer, axe, browser, close, cookieOf, picture, push, redeem } from "./application.mjs";
import { read, task } from "./client.mjs";

const { portal, provider, path } = task;
const alice = "11446498";
const ours = task.provider_client;

// What a provider, or who stands in its place, may say of alice and is not believed; and one answer that is. `credential` tests the rest.
const spoilt = [
  ["nothing", {}, true],
  ["HS256 by the public key", { header: { alg: "HS256" } }],
  ["a key that is not its", { header: { kid: "login-2" } }],
  ["an audience beside us", { claims: { aud: [ours, "somebody-else"] } }],
  ["another issuer", { claims: { iss: "https://login.example" } }],
  ["another nonce", { claims: { nonce: "x".repeat(43) } }],
  ["expired", { shift: { exp: -4_000 } }],
];

try {
  console.log(JSON.stringify(task.only_sign_in ? await alone() : await visit()));
} finally {
  await close();
}

async function visit() {
  const { context, page } = await person();

  // On the way to a consent, at the provider.
  const first = await push();
  await page.goto(first.url);
  await page.waitForURL((url) => url.pathname === "/sign-in");
  assert.equal(await page.locator("#passkey").count(), 0);
  await axe(page, "sign in at a provider");
  await picture(page, "sign-in-provider");
  const planted = await cookieOf(context, portal);
  await signIn(page, alice);
  await page.waitForURL((url) => url.pathname.startsWith("/connect/"));
  assert.notEqual((await cookieOf(context, portal)).value, planted.value, "a session has a cookie of its own");
  assert.equal((await statusWith(planted, `${portal}/connections`)), 303, "whoever planted the first has no session");
  const { token } = await redeem(first, await answer(page, "Agree"));
  const received = await (await read(token.access_token, path)).json();

  // Again, for what is sensitive: the provider asks anew although it knows her, and an answer without that is not taken.
  await page.goto(`${portal}/sign-in?next=/connections&again=1`);
  await leave(page);
  await page.waitForSelector('input[name="login"]');
  await page.fill('input[name="login"]', alice);
  await page.fill('input[name="password"]', "x");
  await page.click('button[type="submit"]');
  await page.waitForURL(`${portal}/connections`);
  await spoil({ shift: { auth_time: -60 } });
  await page.goto(`${portal}/sign-in?again=1`);
  await signIn(page, alice);
  assert.match(await page.innerText("main"), /was not accepted/, "she did not sign in again");

  for (const [what, how, believed] of spoilt) {
    await spoil(how);
    await page.goto(`${portal}/sign-in`);
    await leave(page);
    await page.waitForLoadState();
    if (believed) assert.equal(page.url(), `${portal}/connections`, what);
    else assert.match(await page.innerText("main"), /The answer of Example login was not accepted/, what);
  }

  // Answers that are kept back, to be used where they should not be.
  const other = await person();
  const [mine, mineToo] = [await held(page), await held(page)];
  await other.page.goto(`${portal}/sign-in`);
  await spoil({ hold: true });
  await signIn(other.page, "22222222");
  const theirs = await fetchHeld();
  const cases = [
    ["another browser's answer", theirs, 400, /another browser's/],
    ["another provider's", changed(mine, { iss: "https://login.example" }), 403, /not accepted/],
    ["and then not ours either", mine, 400, /used before/],
    ["of no provider in particular", changed(await held(page), { iss: null }), 403, /not accepted/],
    ["another browser's code", changed(await held(page), { code: new URL(theirs).searchParams.get("code") }), 403, /did not sign you in/],
    ["another sign-in's code", changed(await held(page), { code: new URL(mineToo).searchParams.get("code") }), 403, /did not sign you in/],
    ["a state that is made up", changed(mineToo, { state: "x".repeat(43) }), 400, /another browser's/],
    ["without a state", changed(mineToo, { state: null }), 400, /another browser's/],
    ["a state twice", `${mineToo}&state=x`, 400, /another browser's/],
    ["an error", changed(await held(page), { code: null, error: "access_denied" }), 403, /did not sign you in/],
  ];
  assert.equal(new URL(mine).searchParams.get("iss"), provider);
  for (const [what, url, status, sentence] of cases) {
    const response = await page.goto(url);
    assert.equal(response.status(), status, what);
    assert.match(await page.innerText("main"), sentence, what);
  }
  const last = await held(page);
  await page.goto(last);
  assert.equal(page.url(), `${portal}/connections`);
  assert.equal((await page.goto(last)).status(), 400, "an answer is good for once");

  // Leaving at the provider ends the session here, and leaving here asks the provider to end its own.
  await spoil({});
  await page.goto(`${provider}/session/end`);
  await page.click("text=Yes, sign me out");
  await page.waitForURL((url) => url.pathname === "/session/end/success");
  await page.goto(`${portal}/connections`);
  assert.match(page.url(), /\/sign-in/, "back-channel logout");
  await signIn(page, alice);
  await page.waitForURL(`${portal}/connections`);
  await page.click("text=Sign out");
  await page.click("text=Yes, sign me out");
  await page.waitForURL(`${portal}/sign-in`);
  await page.goto(`${portal}/connections`);
  assert.match(page.url(), /\/sign-in/);
  const forged = new URLSearchParams({ logout_token: "a.b.c" });
  assert.equal((await fetch(`${portal}/sign-in/ended`, { method: "POST", body: forged })).status, 400);

  // A form of another site begins nothing.
  const csrf = new URLSearchParams({ csrf: "x".repeat(43) });
  const begun = await fetch(`${portal}/sign-in/provider`, { method: "POST", body: csrf, headers: { origin: "https://evil.example" } });
  assert.equal(begun.status, 403);

  // The provider is gone when a browser comes back from it.
  const late = await held(other.page);
  await spoil({ end: true });
  const gone = await other.page.goto(late);
  assert.equal(gone.status(), 503);
  await axe(other.page, "the provider is gone");
  assert.match(await other.page.innerText("main"), /Example login cannot be reached/);
  return { received };
}

async function alone() {
  const { page } = await person();
  await page.goto(`${portal}/sign-in`);
  await signIn(page, alice);
  await page.waitForURL(`${portal}/connections`);
  return {};
}

async function person() {
  const context = await browser.newContext({ reducedMotion: "reduce" });
  context.setDefaultTimeout(60_000);
  // The provider's pages ask for fonts from elsewhere.
  await context.route((url) => url.hostname !== "localhost" && url.hostname !== "127.0.0.1", (route) => route.abort());
  return { context, page: await context.newPage() };
}

// From the portal's page to the provider, by which time it may have sent the browser back already.
async function leave(page) {
  await page.click("text=Sign in with Example login");
  await page.waitForURL((url) => url.pathname !== "/sign-in" && url.pathname !== "/sign-in/provider");
}

async function signIn(page, who) {
  await leave(page);
  await page.fill('input[name="login"]', who);
  await page.fill('input[name="password"]', "x");
  await page.click('button[type="submit"]');
  await page.waitForURL((url) => !url.pathname.startsWith("/interaction/"));
}

async function spoil(how) {
  await fetch(`${provider}/spoil`, { method: "POST", body: JSON.stringify(how) });
}

async function fetchHeld() {
  return (await fetch(`${provider}/held`)).text();
}

// The provider's answer to a sign-in of somebody it knows already, before the browser is sent on with it.
async function held(page) {
  await spoil({ hold: true });
  await page.goto(`${portal}/sign-in`);
  await leave(page);
  await page.waitForSelector("text=held");
  await spoil({});
  return fetchHeld();
}

function changed(url, parameters) {
  const other = new URL(url);
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null) other.searchParams.delete(name);
    else other.searchParams.set(name, value);
  }
  return String(other);
}

async function statusWith(cookie, url) {
  return (await fetch(url, { redirect: "manual", headers: { cookie: `${cookie.name}=${cookie.value}` } })).status;
}
