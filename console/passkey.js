// Passkeys: carries bytes between the node, which checks everything, and the authenticator.

export const KEY = "portcullis-console"; // Kept for this address and port alone; of no use without the cookie.

export async function post(path, body, headers = {}) {
  headers["content-type"] = "application/json";
  const answer = await fetch(`/console/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.detail);
  return said;
}

let changing = Promise.resolve(); // Until then the session's secrets may be about to change.
export const settled = (patience) => Promise.race([changing, new Promise((done) => setTimeout(done, patience))]);

const session = () => ({ "portcullis-console": localStorage.getItem(KEY) });

export async function logIn() {
  const { login, options } = await post("login/challenge", {});
  keep(await post("login", { login, credential: await signed(options) }));
}

// Shows a passkey once more.
export async function show() {
  const options = await post("passkey/challenge", {}, session());
  await change("passkey", await signed(options));
}

export async function add() {
  const { publicKey } = await post("passkey/new/challenge", {}, session());
  const made = await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(publicKey) });
  await change("passkey/new", made.toJSON());
}

export function sentence(error) {
  if (error.name === "NotAllowedError") return "It was cancelled, or took too long. Try again.";
  if (error.name === "InvalidStateError") return "This device has a passkey of yours already.";
  return `${error.message[0].toUpperCase()}${error.message.slice(1)}.`;
}

async function signed({ publicKey }) {
  const shown = await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(publicKey) });
  return shown.toJSON();
}

function change(path, credential) {
  const changed = post(path, { credential }, session()).then(keep);
  changing = changed.catch(() => {});
  return changed;
}

// The session's secrets are others afterwards: the cookie's, and this one.
function keep({ page }) {
  localStorage.setItem(KEY, page);
}
