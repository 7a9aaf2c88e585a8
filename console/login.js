// Logs in with a passkey.

import { logIn, sentence } from "/console/passkey.js";

const [button, said] = ["passkey", "said"].map((id) => document.getElementById(id));
button.addEventListener("click", async () => {
  button.disabled = true;
  said.textContent = "Your device asks you now.";
  try {
    await logIn();
    location.replace("/console");
  } catch (error) {
    said.textContent = sentence(error);
    button.disabled = false;
  }
});
button.disabled = false;
