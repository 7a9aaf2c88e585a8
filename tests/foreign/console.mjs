// The console in a browser that nobody here wrote. Argument: { url, link, other_link, sever, hostile, pictures }.
//   url         of the console, without a session
//   link        and other_link: two links that were not used yet
//   sever       slug of an integration to sever
//   hostile     text that runs if it is taken for markup, which the state holds in every place it can
//   pictures    a folder for screenshots, or null
// Prints what was measured as one JSON object; leaves with 1 and says why if anything is not as it should be.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const task = JSON.parse(process.argv[2]);
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
if (task.pictures) mkdirSync(task.pictures, { recursive: true });

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
try {
  console.log(JSON.stringify(await visit()));
} finally {
  await browser.close();
}

async function visit() {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, colorScheme: "light", reducedMotion: "reduce" });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const seen = watch(page);
  const device = await authenticator(context, page);

  const byNumber = task.url.replace("localhost", "127.0.0.1");
  await page.goto(byNumber);
  await page.waitForURL(task.url); // By name, because a number has no passkeys.
  assert.deepEqual(seen.elsewhere.splice(0), [byNumber]);
  assert.match(await page.innerText("main"), /portcullis console/);
  assert.equal(await page.locator("#rows").count(), 0);
  await axe(page, "login page");
  await picture(page, "login");

  seen.weigh = true;
  await page.goto(task.link);
  await page.waitForURL(task.url);
  await page.waitForSelector("#rows tr");
  seen.weigh = false;
  const paint = await page.evaluate(() => Object.fromEntries(performance.getEntriesByType("paint").map((e) => [e.name, Math.round(e.startTime)])));
  assert.equal(await page.innerText("#operator"), "Ana Lind, admin");
  const [cookie] = await context.cookies(task.url);
  assert.deepEqual([cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path], [true, true, "Strict", "/"]);
  assert.equal(await page.evaluate(() => document.cookie), "");
  assert.equal(await page.evaluate(() => history.length > 0 && location.hash), "");

  await used(context);
  await enrols(page, device);
  // From here with a link again, so that nothing is changed before the passkey is shown.
  await logsOut(page);
  await page.goto(task.other_link);
  await page.waitForSelector("#rows tr");
  await moves(page);
  await isText(page);
  await looks(page);
  await extremes(page);
  await rests(page);
  await severs(page, device);
  seen.refused("/console/sever", 3);
  seen.refused("/console/passkey/new/challenge", 0);
  assert.equal(await page.locator("#signals li").count(), 12, "two that are the same stay two");
  seen.quiet("before the node falls silent");
  await silence(page);
  seen.errors.length = 0; // A request that was cut off on purpose is reported by the browser.
  await leaves(page, context);
  seen.quiet("at the end");

  const weight = (...names) => names.reduce((sum, name) => sum + seen.bytes.get(`/console${name}`), 0);
  return { page_bytes: weight("", "/console.js", "/console.css"), state_bytes: weight("/state"), first_paint_ms: paint["first-paint"], first_contentful_paint_ms: paint["first-contentful-paint"] };
}

// Errors, requests elsewhere, and bytes.
function watch(page) {
  const seen = { errors: [], elsewhere: [], bytes: new Map(), weigh: false };
  const origin = new URL(task.url).origin;
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.errors.push(`${message.text()} ${message.location().url}`));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol !== "data:" && url.origin !== origin) seen.elsewhere.push(request.url());
  });
  page.on("response", (response) => {
    if (!seen.weigh || response.url().startsWith("data:")) return;
    seen.bytes.set(new URL(response.url()).pathname, Number(response.headers()["content-length"]));
  });
  page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
  });
  // Refusals that were meant to come: the browser reports them as errors.
  seen.refused = (path, times) => {
    const meant = (error) => error.includes("status of 403") && error.endsWith(path);
    assert.equal(seen.errors.filter(meant).length, times, `${path}: ${seen.errors}`);
    seen.errors = seen.errors.filter((error) => !meant(error));
  };
  // A question that was under way when the secrets changed is refused, once for each of the five times that they do here, and the page asks again.
  const crossed = (error) => error.includes("status of 403") && error.endsWith("/console/state");
  seen.quiet = (when) => {
    const others = seen.errors.filter((error) => !crossed(error));
    assert.deepEqual(others, [], `errors ${when}`);
    assert.ok(seen.errors.length <= 5, `${seen.errors.length} questions refused ${when}`);
    assert.deepEqual(seen.elsewhere, [], `requests elsewhere ${when}`);
  };
  return seen;
}

async function authenticator(context, page) {
  const cdp = await context.newCDPSession(page);
  await cdp.send("WebAuthn.enable");
  const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  const send = (what, more) => cdp.send(`WebAuthn.${what}`, { authenticatorId, ...more });
  return { verified: (isUserVerified) => send("setUserVerified", { isUserVerified }), passkeys: async () => (await send("getCredentials")).credentials };
}

// With a link alone she looks; then she adds a passkey.
async function enrols(page, device) {
  assert.match(await page.innerText("#unkeyed"), /look and nothing else. Add one now/);
  assert.equal(await page.innerText("#passkey"), "Add a passkey");
  await axe(page, "without a passkey");
  await picture(page, "unkeyed");
  await page.click(`[aria-label="Sever ${task.sever}"]`);
  await page.fill("#reason", "stolen key");
  await page.click("#cut-confirm");
  await page.locator("#cut-problem").filter({ hasText: /Not severed: show your passkey first/ }).waitFor();
  await page.click("#cut-cancel");
  await device.verified(false);
  await page.click("#passkey");
  await page.locator("#added").filter({ hasText: /cancelled, or took too long/ }).waitFor();
  await device.verified(true);
  await page.click("#passkey");
  await page.locator("#added").filter({ hasText: /was added/ }).waitFor();
  await page.waitForSelector("#unkeyed", { state: "hidden" });
  assert.equal((await device.passkeys()).length, 1);
  await axe(page, "with a passkey");
  await page.waitForTimeout(1_500); // The page goes on with the secrets that changed.
  assert.ok(await page.locator("#rows tr").first().isVisible());
}

// A link that was used opens nothing, in a browser that has no session.
async function used() {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(task.link);
  await page.waitForSelector("#again:not([hidden])");
  assert.match(await page.innerText("main"), /used, or is older than a minute/);
  assert.deepEqual(await context.cookies(), []);
  await context.close();
}

async function moves(page) {
  const read = () => page.evaluate(() => [...document.querySelectorAll("#rows tr")].map((row) => row.querySelector(".line").getAttribute("d")));
  const before = await read();
  await page.waitForFunction((first) => [...document.querySelectorAll("#rows tr")].some((row, n) => row.querySelector(".line").getAttribute("d") !== first[n]), before);
  assert.equal(before.length, 24);
  const label = await page.locator("#rows svg").first().getAttribute("aria-label");
  assert.match(label, /^\d+ records per second now, at most \d+ in the last minute$/);
}

async function isText(page) {
  assert.equal(await page.evaluate(() => window.hit), undefined);
  assert.equal(await page.locator("img, script:not([src])").count(), 0);
  for (const place of ["#attention-list", "#rows", "#incidents", "#posture", "#signals"]) {
    const text = await page.locator(place).evaluate((element) => element.textContent);
    assert.ok(text.includes(task.hostile), `${place} shows hostile text as it is`);
  }
}

async function looks(page) {
  for (const [name, width] of [["wide", 1440], ["middle", 900], ["narrow", 390], ["narrowest", 320]]) {
    await page.setViewportSize({ width, height: width < 500 ? 844 : 900 });
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      const { scroll, client, wide } = await page.evaluate(() => ({
        scroll: document.documentElement.scrollWidth,
        client: document.documentElement.clientWidth,
        wide: [...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.id || e.className).slice(0, 5),
      }));
      assert.ok(scroll <= client, `${name} scrolls sideways: ${scroll} > ${client}: ${wide}`);
      await axe(page, `${name}, ${colorScheme}`);
      await picture(page, `${name}-${colorScheme}`);
    }
  }
  await page.emulateMedia({ colorScheme: "light" });
  await page.setViewportSize({ width: 1440, height: 900 });
}

// A node where nothing is, and one where nothing goes.
async function extremes(page) {
  const calm = {
    integrations: [], incidents: [], signals: [], unacknowledged: 0, attention: [], posture: { number: 0, head: "00", severed: [], restricted: [] },
    ledger: { records: 0, bytes: 0, checkpoint_age_ms: null, checkpoint_size: 0, stopped: null },
  };
  await answered(page, calm, /Nothing needs attention/);
  for (const text of ["No integration.", "No incident is open.", "Nothing is severed or restricted.", "No signal.", "none yet"]) {
    assert.ok(await page.getByText(text).isVisible(), text);
  }
  await axe(page, "calm");
  await picture(page, "calm");
  const open = { id: "inc_3", name: "INC-13", title: "nobody has looked", state: "open", opened: "2026-03-01T12:00:00Z", subjects: null, clocks: [], letters: null };
  const bad = { incidents: [open], unacknowledged: 2, node: { deployment: "d", version: "0", started: "", data: "refused: the lease lapsed" }, frozen: "incident", session_left_s: 90 };
  await answered(page, { ...bad, ledger: { ...calm.ledger, stopped: "the disk is full" } }, /No data leaves: the lease lapsed/);
  assert.match(await page.innerText("#attention"), /cannot be written: the disk is full[^]*frozen: incident/);
  assert.match(await page.innerText("#attention"), /INC-13 is open, and nobody[^]*2 signals were not looked at/);
  assert.equal(await page.innerText("#flow"), "No data leaves");
  assert.ok(await page.locator("#ending").isVisible());
  await axe(page, "stopped");
  await picture(page, "stopped");
  await answered(page, {}, /overdue/);
}

// Shows what the node says with these members in place of its own, until `attention` reads so.
async function answered(page, members, attention) {
  await page.unrouteAll({ behavior: "wait" }); // An answer under way is still given by the old handler.
  await page.route("**/console/state", async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...(await answer.json()), ...members } });
  });
  await page.locator("#attention").filter({ hasText: attention }).waitFor();
  await page.waitForTimeout(1_200); // One more, so that what is kept is kept well.
  if (Object.keys(members).length === 0) await page.unrouteAll({ behavior: "wait" });
}

// A page that nobody sees asks for nothing. Headless Chromium shows every page, so the page is told otherwise.
async function rests(page) {
  const hide = (hidden) => page.evaluate((hidden) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  }, hidden);
  const askedSince = (since) => performance.getEntriesByType("resource").filter(({ name, startTime }) => name.endsWith("/state") && startTime > since).length;
  await page.evaluate(() => performance.setResourceTimingBufferSize(10_000));
  await hide(true);
  const hidden = await page.evaluate(() => performance.now());
  await page.waitForTimeout(2_500);
  assert.equal(await page.evaluate(askedSince, hidden), 0, "a hidden page asks");
  await hide(false);
  await page.waitForFunction(askedSince, hidden);
}

// With the keyboard alone, from the top of the page.
async function severs(page, device) {
  const focused = () => page.evaluate(() => document.activeElement.getAttribute("aria-label") ?? document.activeElement.id);
  await page.evaluate(() => document.activeElement.blur());
  for (let presses = 0; (await focused()) !== `Sever ${task.sever}`; presses++) {
    assert.ok(presses < 60, "the button is reached by Tab");
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "reason");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), `Sever ${task.sever}`, "focus comes back after Escape");
  await page.keyboard.press("Enter");
  await page.keyboard.type("no");
  await page.keyboard.press("Enter");
  assert.match(await page.innerText("#cut-problem"), /at least 3 characters/);
  await page.keyboard.press("Control+A");
  await page.keyboard.type("stolen key");
  await axe(page, "dialog");
  await picture(page, "dialog");
  await device.verified(false);
  await page.keyboard.press("Enter");
  await page.locator("#cut-problem").filter({ hasText: /Not severed: It was cancelled/ }).waitFor();
  await device.verified(true);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#cut-done:not([hidden])");
  assert.equal(await focused(), "done-title");
  const said = await page.innerText("#cut-done");
  assert.match(said, /Acknowledged\s+1\.8 ms/);
  assert.match(said, /Settled\s+confirmed/);
  assert.match(said, /Connections\s+12/);
  assert.match(said, /Broken off\s+3/);
  await axe(page, "receipt");
  await picture(page, "receipt");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#cut").evaluate((dialog) => dialog.open), false);
  await page.waitForFunction((slug) => document.activeElement.getAttribute("aria-label") === `${slug} is severed`, task.sever);
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("#cut").evaluate((dialog) => dialog.open), false, "what is severed is not severed again");
  assert.match(await page.innerText("#posture"), /stolen key/);
}

async function silence(page) {
  await page.route("**/console/state", (route) => route.abort());
  await page.waitForSelector("#silent:not([hidden])");
  assert.match(await page.innerText("#silent"), /has not answered since \d\d:\d\d:\d\d UTC/);
  await axe(page, "silent");
  await picture(page, "silent");
  await page.unrouteAll({ behavior: "wait" });
  await page.waitForSelector("#silent", { state: "hidden" });
}

async function logsOut(page) {
  const loaded = page.waitForEvent("load");
  await page.click("#leave");
  await loaded;
  await page.waitForSelector("text=Without a passkey");
  await page.waitForSelector("#passkey:enabled");
}

async function leaves(page, context) {
  await logsOut(page);
  assert.deepEqual(await context.cookies(), []);
  // Another session, without a link, whose page then loses its half of the secret.
  await page.focus("#passkey");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#rows tr");
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  await page.waitForSelector("#ended:not([hidden])");
  assert.equal(await page.locator("#rows tr").count(), 0);
  await axe(page, "ended");
}

async function axe(page, what) {
  await page.evaluate(axeSource);
  const violations = await page.evaluate(async () => {
    const found = await window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] });
    return found.violations.map(({ id, impact, nodes }) => ({ id, impact, where: nodes.slice(0, 3).map((n) => `${n.target} ${n.failureSummary}`) }));
  });
  assert.deepEqual(violations.filter(({ impact }) => ["serious", "critical", "moderate"].includes(impact)), [], `axe on ${what}`);
}

async function picture(page, name) {
  const fullPage = !(await page.locator("dialog[open]").count()); // A backdrop covers no more than the window.
  if (task.pictures) await page.screenshot({ path: `${task.pictures}/${name}.png`, fullPage });
}
