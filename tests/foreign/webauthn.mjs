// A second opinion on passkeys: @simplewebauthn/server judges what the browser sent to the portal, by what the portal had asked for.

import assert from "node:assert/strict";
import { verifyAuthenticationResponse, verifyRegistrationResponse } from "@simplewebauthn/server";

// Has it noted what a page and the portal say to each other about passkeys from here on. Gives a judge for each ceremony, which throws if the other verifier
// does not come to the portal's result.
export async function secondOpinion(page, portal) {
  const challenges = {};
  const sent = {};
  let known;
  await page.route(/\/challenge$/, async (route) => {
    const response = await route.fetch();
    challenges[new URL(route.request().url()).pathname] = (await response.json()).publicKey;
    await route.fulfill({ response });
  });
  page.on("request", (request) => {
    const path = new URL(request.url()).pathname;
    if (path === "/sign-in/passkey" || (path === "/enrol" && request.method() === "POST")) sent[path] = request.postDataJSON().credential;
  });
  const of = (credential) => ({ ...credential, clientExtensionResults: {} });
  const expected = (challenge) => ({
    expectedChallenge: challenge, expectedOrigin: portal, expectedRPID: new URL(portal).hostname, requireUserVerification: true,
  });
  const refused = async (verify, wrong) => {
    for (const [what, change] of Object.entries(wrong)) {
      const verdict = await verify(change).then(({ verified }) => verified, () => false);
      assert.equal(verdict, false, `the other verifier takes ${what}, and so proves nothing`);
    }
  };
  const wrong = {
    "another challenge": { expectedChallenge: "AAAA" },
    "another origin": { expectedOrigin: "https://evil.example" },
    "another relying party": { expectedRPID: "evil.example" },
  };

  return {
    async registration() {
      const { challenge, pubKeyCredParams, rp, authenticatorSelection } = challenges["/enrol/challenge"];
      assert.equal(rp.id, new URL(portal).hostname);
      assert.equal(authenticatorSelection.userVerification, "required");
      const supportedAlgorithmIDs = pubKeyCredParams.map(({ alg }) => alg);
      const verify = (change) =>
        verifyRegistrationResponse({ response: of(sent["/enrol"]), ...expected(challenge), supportedAlgorithmIDs, ...change });
      const { verified, registrationInfo } = await verify();
      assert.ok(verified);
      assert.ok(registrationInfo.userVerified);
      await refused(verify, wrong);
      known = registrationInfo.credential;
    },
    async assertion() {
      const { challenge, userVerification, rpId } = challenges["/sign-in/challenge"];
      assert.deepEqual([userVerification, rpId], ["required", new URL(portal).hostname]);
      const verify = (change) =>
        verifyAuthenticationResponse({ response: of(sent["/sign-in/passkey"]), ...expected(challenge), credential: known, ...change });
      const { verified, authenticationInfo } = await verify();
      assert.ok(verified);
      assert.ok(authenticationInfo.userVerified);
      await refused(verify, wrong);
    },
  };
}
