"use strict";
// Signing in with a passkey, and making one. The server checks everything; this only carries bytes between it and the authenticator.

const bytes = (text) => Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const text = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const say = (sentence) => { document.getElementById("said").textContent = sentence; };

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.sentence);
  return said;
}

async function signIn(form) {
  const { csrf, next } = form.dataset;
  const { publicKey } = await post("/sign-in/challenge", { csrf });
  publicKey.challenge = bytes(publicKey.challenge);
  publicKey.allowCredentials = [];
  const { id, rawId, type, response } = await navigator.credentials.get({ publicKey });
  const credential = {
    id, type, rawId: text(rawId), extensions: {},
    response: {
      authenticatorData: text(response.authenticatorData),
      clientDataJSON: text(response.clientDataJSON),
      signature: text(response.signature),
      userHandle: response.userHandle ? text(response.userHandle) : null,
    },
  };
  const signed = await post("/sign-in/passkey", { csrf, next, credential });
  location.assign(signed.next);
}

async function enrol(form) {
  const { csrf, ticket } = form.dataset;
  const { publicKey } = await post("/enrol/challenge", { csrf, ticket });
  publicKey.challenge = bytes(publicKey.challenge);
  publicKey.user.id = bytes(publicKey.user.id);
  publicKey.excludeCredentials = (publicKey.excludeCredentials || []).map((one) => ({ ...one, id: bytes(one.id) }));
  const { id, rawId, type, response } = await navigator.credentials.create({ publicKey });
  const credential = {
    id, type, rawId: text(rawId), extensions: {},
    response: { attestationObject: text(response.attestationObject), clientDataJSON: text(response.clientDataJSON) },
  };
  const { codes } = await post("/enrol", { csrf, credential });
  const list = document.getElementById("list");
  for (const code of codes) {
    const item = document.createElement("li");
    item.appendChild(document.createElement("code")).textContent = code;
    list.appendChild(item);
  }
  form.hidden = true;
  document.getElementById("codes").hidden = false;
  document.getElementById("codes-title").focus();
}

for (const [id, act] of [["passkey", signIn], ["enrol", enrol]]) {
  const form = document.getElementById(id);
  if (!form) continue;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("Your device asks you now.");
    try {
      await act(form);
    } catch (error) {
      say(error.name === "NotAllowedError" ? "It was cancelled, or took too long. Try again." : error.message);
    }
  });
}
