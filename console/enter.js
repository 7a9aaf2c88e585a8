// Exchanges the token of a link, which stands after `#`, for a session.

const token = location.hash.slice(1);
// Out of the address bar and the history before anything else happens.
history.replaceState(null, "", location.pathname);

function refused(detail) {
  document.getElementById("heading").textContent = "Not logged in";
  document.getElementById("detail").textContent = detail;
  document.getElementById("again").hidden = false;
  document.getElementById("heading").focus();
}

async function enter() {
  const answer = await fetch("/console/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ token }),
  });
  const said = await answer.json();
  if (!answer.ok) return refused(`Refused: ${said.detail}.`);
  // Kept for this address and port alone; of no use without the cookie.
  localStorage.setItem("portcullis-console", said.page);
  location.replace("/console");
}

if (token) enter().catch(() => refused("The node does not answer."));
else refused("The address has no token in it.");
