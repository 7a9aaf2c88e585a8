// What the scripts share that connect an application in a browser: oauth4webapi is the application, Chromium the subject's browser.
// Of the argument they need `pictures`, a folder for them if they are wanted, and `application`, the application's own host if it is not
// 127.0.0.1.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import * as oauth from "oauth4webapi";
import { chromium } from "playwright-core";
import { client, options, pair, proofs, server, task, withNonce } from "./client.mjs";

const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
if (task.pictures) mkdirSync(task.pictures, { recursive: true });
export const auth = oauth.PrivateKeyJwt(pair.privateKey);

// The application's own address, on whatever port is free: RFC 8252 section 7.3.
let arrived;
const application = createServer((request, response) => {
  arrived?.(new URL(request.url, redirect));
  response.end("back");
});
const host = task.application ?? "127.0.0.1";
await new Promise((listening) => application.listen(0, host.replace(/[[\]]/g, ""), listening));
export const redirect = `http://${host}:${application.address().port}/back`;

export const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });

export async function close() {
  await browser.close();
  application.close();
}

// A browser with an authenticator that keeps passkeys and asks its owner.
export async function person() {
  const context = await browser.newContext({ reducedMotion: "reduce" });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send("WebAuthn.enable");
  const { authenticatorId } = await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });
  const verified = (isUserVerified) => cdp.send("WebAuthn.setUserVerified", { authenticatorId, isUserVerified });
  return { context, page, device: { verified } };
}

export async function push() {
  const [verifier, state] = [oauth.generateRandomCodeVerifier(), oauth.generateRandomState()];
  const parameters = {
    response_type: "code",
    redirect_uri: redirect,
    state,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    authorization_details: JSON.stringify([{ type: "portcullis_access", grant: task.scope }]),
  };
  const pushed = await withNonce(async () => {
    const response = await oauth.pushedAuthorizationRequest(server, client, auth, parameters, { ...options, DPoP: proofs });
    return oauth.processPushedAuthorizationResponse(server, client, response);
  });
  const url = new URL(server.authorization_endpoint);
  url.search = new URLSearchParams({ client_id: client.client_id, request_uri: pushed.request_uri });
  return { url: String(url), verifier, state };
}

export async function answer(page, button) {
  const back = new Promise((resolve) => (arrived = resolve));
  await page.click(`button:text-is("${button}")`);
  const late = new Promise((_, reject) => setTimeout(reject, 60_000).unref());
  return Promise.race([back, late]).catch(async () => assert.fail(`the browser is at ${page.url()}: ${await page.innerText("main")}`));
}

export async function redeem({ verifier, state }, url) {
  const parameters = oauth.validateAuthResponse(server, client, url, state);
  const token = await withNonce(async () => {
    const response = await oauth.authorizationCodeGrantRequest(server, client, auth, parameters, redirect, verifier, { ...options, DPoP: proofs });
    return oauth.processAuthorizationCodeResponse(server, client, response);
  });
  return { token, details: token.authorization_details[0] };
}

export async function cookieOf(context, url) {
  return (await context.cookies(url)).find((cookie) => cookie.name.endsWith("portal"));
}

export async function axe(page, where) {
  await page.evaluate(axeSource);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const grave = violations.filter((one) => ["serious", "critical"].includes(one.impact));
  assert.deepEqual(grave.map((one) => `${one.id}: ${one.nodes[0].html}`), [], where);
}

export async function picture(page, name) {
  if (task.pictures) await page.screenshot({ path: `${task.pictures}/${name}.png`, fullPage: true });
}
