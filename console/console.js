// Asks the node for its state each second and shows it. Whatever the node says is put in as text, never as markup.

import { KEY, add, sentence, settled, show as showPasskey } from "/console/passkey.js";

const EVERY_MS = 1000;
const PATIENCE_MS = 5000;
const SOON_S = 12 * 3600; // A clock with less than this left wants attention.
const half = () => localStorage.getItem(KEY); // The page's half of the session's secret. It changes whenever a passkey is shown.
const at = (id) => document.getElementById(id);
const grouped = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

let touched = true; // The page was just opened by somebody.
let timer = 0;
let asking = false;
let over = false;
let last = null; // What is shown.
let heard = Date.now(); // When the node last answered, by this machine's clock.

// Conversation with the node

async function ask(path, body) {
  const headers = { "portcullis-console": half() };
  if (touched) headers["portcullis-touched"] = "1";
  touched = false;
  const options = { headers, signal: AbortSignal.timeout(PATIENCE_MS) };
  if (body !== undefined) {
    options.method = "POST";
    options.body = JSON.stringify(body);
    headers["content-type"] = "application/json";
    if (path === "sever") delete options.signal; // A cut is waited for, however long it takes.
  }
  return fetch(`/console/${path}`, options);
}

async function poll() {
  clearTimeout(timer);
  if (asking || over) return;
  asking = true;
  warn(await news());
  asking = false;
  if (!document.hidden && !over) timer = setTimeout(poll, EVERY_MS);
}

// Shows the state, or gives the sentence that says why it cannot be seen.
async function news() {
  let state;
  try {
    await settled(PATIENCE_MS);
    const sent = half();
    const answer = await ask("state");
    if (answer.status === 403) {
      // A passkey that was just shown, here or in another tab, has changed both halves.
      await Promise.all([settled(PATIENCE_MS), new Promise((done) => setTimeout(done, 500))]);
      return half() === sent ? ended() : "";
    }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    state = await answer.json();
  } catch {
    const since = `${new Date(heard).toISOString().slice(11, 19)} UTC`;
    if (!last) return `The node has not answered since this page was opened at ${since}.`;
    return `The node has not answered since ${since}. What stands below is from then.`;
  }
  heard = Date.now();
  try {
    show(state);
    return "";
  } catch (mistake) {
    console.error(mistake);
    return "The node answers with something that this page cannot show. What stands below may be old.";
  }
}

function warn(sentence) {
  document.body.classList.toggle("stale", Boolean(sentence));
  say(at("silent"), sentence);
  at("silent").hidden = !sentence;
}

function ended() {
  over = true;
  localStorage.removeItem(KEY);
  at("cut").close();
  at("silent").hidden = at("ending").hidden = at("console").hidden = true;
  document.querySelector("header").hidden = document.querySelector(".skip").hidden = true;
  at("ended").hidden = false;
  at("ended").querySelector("h1").focus();
}

// Building blocks

function make(name, attributes, ...children) {
  const element = name === "svg" || name === "path" ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function say(element, text) {
  text = String(text ?? "");
  if (element.textContent !== text) element.textContent = text;
}

// Children of `parent` by key: kept and not moved about, so that focus and selection survive an update.
function keyed(parent, items, keyOf, build, update) {
  const wanted = new Map();
  for (const item of items) {
    let key = String(keyOf(item));
    while (wanted.has(key)) key += "+"; // Two signals may be the same in every word.
    wanted.set(key, item);
  }
  for (const child of [...parent.children]) if (!wanted.has(child.key)) child.remove();
  const kept = new Map([...parent.children].map((child) => [child.key, child]));
  let place = parent.firstElementChild;
  for (const [key, item] of wanted) {
    const child = kept.get(key) ?? build(item);
    child.key = key;
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
}

function facts(parent, rows) {
  keyed(parent, rows, ([name]) => name,
    ([name]) => make("div", {}, make("dt", {}, name), make("dd")),
    (row, [, value, note]) => {
      const dd = row.lastChild;
      if (!dd.firstChild) dd.append(make("b"), " ", make("span", { class: "quiet" }));
      say(dd.children[0], value);
      say(dd.children[1], note);
    });
}

// Nothing is said quietly.
function amount(element, count) {
  say(element, count === undefined || count === null ? "–" : grouped.format(count));
  element.classList.toggle("quiet", !count);
}

// A word with a shape before it; the colour only repeats what both say.
function mark(element, word, kind) {
  say(element, word);
  element.className = `state ${kind}`;
}

function span(seconds) {
  const minutes = Math.floor(Math.abs(seconds) / 60);
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60)];
  if (days >= 4) return `${days} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min` : `${Math.floor(Math.abs(seconds))} s`;
}

// `2026-11-24T09:42:33.000000Z` as `24 Nov 09:42` or, on the day itself, `09:42:33`.
function moment(text) {
  const time = new Date(text ?? NaN);
  if (Number.isNaN(time.getTime())) return String(text ?? "");
  const [day, clock] = time.toISOString().split("T");
  if (last && String(last.now).startsWith(day)) return clock.slice(0, 8);
  return `${date(text)} ${clock.slice(0, 5)}`;
}

function date(text) {
  const time = new Date(text ?? NaN);
  if (Number.isNaN(time.getTime())) return String(text ?? "");
  const sameYear = last && String(last.now).slice(0, 4) === time.toISOString().slice(0, 4);
  return time.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: sameYear ? undefined : "numeric", timeZone: "UTC" });
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) [count, unit] = [count / 1000, unit + 1];
  return `${count.toFixed(unit && count < 100 ? 1 : 0)} ${units[unit]}`;
}

const rateNow = (rate) => rate.at(-1) ?? 0;
const several = (count, one, more = `${one}s`) => `${grouped.format(count)} ${count === 1 ? one : more}`;

// Sparkline: its own scale, from zero, so that its shape and not its height is read; the number beside it says how much.
function spark() {
  return make("svg", { viewBox: "0 0 59 20", preserveAspectRatio: "none", role: "img", class: "spark" },
    make("path", { class: "area" }), make("path", { class: "line" }));
}

function draw(svg, rate) {
  const top = Math.max(4, ...rate);
  const points = rate.map((value, second) => `${second} ${(19 - (value / top) * 18).toFixed(1)}`);
  const line = points.length ? `M${points.join("L")}` : "";
  svg.lastChild.setAttribute("d", line);
  svg.firstChild.setAttribute("d", line && `${line}V20H0Z`);
  svg.classList.toggle("idle", !rate.some(Boolean));
  svg.setAttribute("aria-label", `${rateNow(rate)} records per second now, at most ${Math.max(0, ...rate)} in the last minute`);
}

// The page

function show(state) {
  last = state;
  at("console").hidden = false;
  const { integrations, posture, ledger } = state;
  say(at("deployment"), state.node.deployment);
  say(at("version"), state.node.version);
  at("version").title = `started ${state.node.started}`;
  say(at("operator"), state.role ? `${state.operator}, ${state.role}` : state.operator);
  offers(state);
  say(at("now"), `${String(state.now).slice(11, 19)} UTC`);
  const flows = state.node.data === "flowing";
  mark(at("flow"), flows ? "Data flows" : "No data leaves", flows ? "good" : "grave");
  at("ending").hidden = state.session_left_s > 120;
  say(at("ending"), "The session ends in two minutes unless somebody touches this page.");

  const urgent = attention(state);
  document.title = urgent.length ? `(${urgent.length}) Portcullis` : "Portcullis";
  at("attention").className = urgent.length ? "urgent" : "";
  say(at("attention-title"), urgent.length ? `${several(urgent.length, "thing needs", "things need")} attention` : "Nothing needs attention");
  keyed(at("attention-list"), urgent, (text) => text, (text) => make("li", {}, text), () => {});

  const total = Array.from({ length: 60 }, (_, second) => integrations.reduce((sum, { rate }) => sum + (rate[second] ?? 0), 0));
  const count = (test) => integrations.filter(test).length;
  const sum = (name) => integrations.reduce((all, integration) => all + (integration[name] ?? 0), 0);
  facts(at("figures"), [
    ["Released now", `${grouped.format(rateNow(total))}/s`, "records"],
    ["Integrations", integrations.length, `${count((i) => i.severed)} severed, ${count((i) => i.restricted)} restricted`],
    ["Released", short.format(sum("released")), "records since the start"],
    ["Refused", short.format(sum("refused")), "requests since the start"],
    ["Open incidents", state.incidents.length, state.incidents.length ? `${several(state.incidents.reduce((all, i) => all + (i.subjects ?? 0), 0), "subject")}` : ""],
  ]);
  const figure = at("figures").firstChild.lastChild;
  if (!figure.querySelector("svg")) figure.append(spark());
  draw(figure.querySelector("svg"), total);

  rows(integrations);
  keyed(at("incidents"), orNone(state.incidents, "No incident is open."), (i) => i.id ?? i.none, line("incident"), incident);
  const cuts = [...posture.severed.map((cut) => ({ ...cut, word: "severed" })), ...posture.restricted.map((cut) => ({ ...cut, word: "restricted" }))]
    .sort((one, other) => (one.since < other.since ? 1 : -1));
  say(at("posture-note"), `entry ${grouped.format(posture.number)}, head ${String(posture.head).slice(0, 12)}`);
  at("posture-note").title = posture.head;
  keyed(at("posture"), orNone(cuts, "Nothing is severed or restricted."), (cut) => cut.none ?? cut.word + cut.target, line("cut"), cutOff);
  const waiting = state.unacknowledged ?? 0;
  say(at("signals-note"), waiting ? `${grouped.format(waiting)} not looked at` : state.signals.length ? "newest first" : "");
  at("acknowledge").hidden = !waiting;
  at("acknowledge").through = state.signals[0]?.number;
  const signals = state.signals.slice(0, 50);
  keyed(at("signals"), orNone(signals, "No signal."), (s) => s.none ?? s.number ?? s.at + s.sentence, line("signal"), signal);
  facts(at("ledger"), [
    ["Records", grouped.format(ledger.records), bytes(ledger.bytes)],
    ["Checkpoint", ledger.checkpoint_age_ms === null ? "none yet" : `${span(ledger.checkpoint_age_ms / 1000)} old`, ledger.checkpoint_age_ms === null ? "" : `signs ${grouped.format(ledger.checkpoint_size)} records`],
    ["Writing", ledger.stopped ? "stopped" : "goes on", ledger.stopped],
  ]);
}

// The hard facts of the state first, then what the node found worth saying.
function attention(state) {
  const found = [];
  if (state.node.data !== "flowing") found.push(`No data leaves: ${state.node.data.replace(/^refused: /, "")}`);
  if (state.ledger.stopped) found.push(`The record cannot be written: ${state.ledger.stopped}`);
  const clocks = state.incidents.flatMap(({ name, clocks }) => clocks.filter(isRunning).map((clock) => ({ ...clock, name })));
  for (const clock of clocks.sort((one, other) => one.left_s - other.left_s)) {
    const told = `${clock.name}: ${clock.regime} (${clock.law})`;
    if (clock.left_s < 0) found.push(`${told} is overdue since ${moment(clock.due)} UTC`);
    else if (clock.left_s < SOON_S) found.push(`${told} is due at ${moment(clock.due)} UTC`);
  }
  for (const { name, subjects } of state.incidents) if (typeof subjects !== "number") found.push(`${name} is open, and nobody has said yet who is concerned`);
  if (state.unacknowledged) found.push(`${several(state.unacknowledged, "signal was", "signals were")} not looked at`);
  if (state.frozen) found.push(`Onboarding is frozen: ${state.frozen}`);
  return [...new Set([...found, ...state.attention])];
}

const orNone = (items, text) => (items.length ? items : [{ none: text }]);
const line = (name) => (item) => make("li", { class: item.none ? "quiet" : name });

function rows(integrations) {
  const wanted = at("filter").value.trim().toLowerCase();
  const stateOf = (i) => (i.severed ? "severed" : i.restricted ? "restricted" : i.stage);
  const shown = integrations.filter((i) => !wanted || [i.slug, i.vendor, stateOf(i)].some((text) => String(text).toLowerCase().includes(wanted)));
  say(at("integrations-note"), wanted ? `${shown.length} of ${integrations.length}` : several(integrations.length, "integration"));
  at("none").hidden = shown.length > 0;
  keyed(at("rows"), shown, (i) => i.id, row, (tr, i) => {
    const { slug, vendor, tier, word, more, svg, now, subjects, released, refused, until, button } = tr.parts;
    const isCut = i.severed || i.stage === "severed";
    say(slug, i.slug);
    say(vendor, i.vendor);
    say(tier, `tier ${i.tier}`);
    mark(word, stateOf(i), KINDS[stateOf(i)] ?? "plain");
    say(more, i.bearer ? "bearer token" : "");
    draw(svg, i.rate);
    amount(now, rateNow(i.rate));
    amount(subjects, i.subjects_minute);
    amount(released, i.released);
    amount(refused, i.refused);
    say(until, i.until ? date(i.until) : "–");
    tr.classList.toggle("is-cut", isCut);
    // It stays in place for who tabs through; a second cut would only be one more entry.
    button.setAttribute("aria-disabled", String(isCut));
    say(button, isCut ? "Severed" : "Sever…");
    button.setAttribute("aria-label", isCut ? `${i.slug} is severed` : `Sever ${i.slug}`);
    button.hidden = last.can_sever === false; // Whoever only looks is not offered more. The node judges it in any case.
    button.integration = i;
  });
}

const KINDS = { approved: "good", sandbox: "plain", restricted: "warn", severed: "grave", expired: "gone", retired: "gone" };

function row() {
  const parts = {
    slug: make("b"), vendor: make("span"), tier: make("span"), word: make("span"), more: make("span", { class: "quiet more" }), svg: spark(),
    now: make("span", { class: "now" }), subjects: make("span"), released: make("span"), refused: make("span"), until: make("span"), button: make("button", { type: "button" }),
  };
  const cell = (name, ...children) => make("td", { role: "cell", class: name }, ...children);
  const tr = make("tr", { role: "row" },
    make("th", { role: "rowheader", scope: "row", class: "name" }, parts.slug, make("span", { class: "quiet" }, parts.vendor, ", ", parts.tier)),
    cell("word", parts.word, parts.more), cell("rate", parts.now, parts.svg), cell("number subjects", parts.subjects), cell("number released", parts.released),
    cell("number refused", parts.refused), cell("until", parts.until), cell("act", parts.button));
  tr.parts = parts;
  parts.button.addEventListener("click", () => openCut(parts.button));
  return tr;
}

const isRunning = (clock) => typeof clock.left_s === "number" && !["met", "filed", "done", "stopped", "closed"].includes(clock.state);

function incident(li, i) {
  if (i.none) return say(li, i.none);
  if (!li.firstChild) li.append(make("p", {}, make("b"), " ", make("span")), make("p", { class: "quiet" }), make("ul", { class: "clocks" }), make("p", { class: "quiet" }));
  const [head, about, clocks, letters] = li.children;
  say(head.children[0], i.name);
  say(head.children[1], i.title);
  say(about, `${i.state}, ${several(i.subjects ?? 0, "subject")}, opened ${moment(i.opened)}`);
  keyed(clocks, i.clocks, (clock) => clock.regime + clock.law, () => make("li", {}, make("span", {}, make("span"), " ", make("span", { class: "quiet" })), make("span")), (item, clock) => {
    say(item.firstChild.firstChild, clock.regime);
    say(item.firstChild.lastChild, clock.law);
    const runs = isRunning(clock);
    const word = !runs ? clock.state : clock.left_s < 0 ? `overdue by ${span(clock.left_s)}` : `${span(clock.left_s)} left`;
    mark(item.lastChild, word, !runs ? "good" : clock.left_s < 0 ? "grave" : clock.left_s < SOON_S ? "warn" : "plain");
    item.title = clock.due ? `due ${clock.due}` : "";
  });
  const l = i.letters;
  say(letters, l ? `Letters: ${grouped.format(l.accepted)} accepted, ${grouped.format(l.queued)} queued, ${grouped.format(l.refused)} refused, ${grouped.format(l.in_doubt)} in doubt` : "No letters");
}

function cutOff(li, cut) {
  if (cut.none) return say(li, cut.none);
  if (!li.firstChild) li.append(make("p", {}, make("span"), " ", make("b")), make("p"), make("p", { class: "quiet" }));
  mark(li.children[0].firstChild, cut.word, KINDS[cut.word]);
  const owner = last.integrations.find((i) => cut.target === `integration:${i.id}`);
  say(li.children[0].lastChild, owner ? owner.slug : cut.target);
  li.children[0].lastChild.title = cut.target;
  say(li.children[1], cut.reason);
  say(li.children[2], `since ${moment(cut.since)}, by ${cut.by}`);
}

function signal(li, s) {
  if (s.none) return say(li, s.none);
  if (!li.firstChild) li.append(make("time"), make("div", {}, make("p"), make("p", { class: "quiet" }), make("p", { class: "quiet" })));
  say(li.firstChild, moment(s.at));
  const [sentence, note, evidence] = li.lastChild.children;
  say(sentence, s.sentence);
  const came = s.shadow ? `in shadow, would have: ${s.containment.join(", ") || "nothing"}` : (s.contained?.length ? s.contained : s.containment).join(", ") || "nothing contained";
  const looked = s.pages ? (s.acknowledged ? "looked at" : "not looked at") : "";
  say(note, [s.rule, came, s.count > 1 ? `${grouped.format(s.count)} times` : "", looked].filter(Boolean).join("; "));
  say(evidence, Object.entries(s.evidence ?? {}).map(([name, value]) => `${name} ${value}`).join(", "));
}

at("acknowledge").addEventListener("click", async () => {
  touched = true;
  const looked = () => ask("acknowledge", { through: at("acknowledge").through });
  try {
    const said = await (await looked()).json();
    if (said.step_up && last.passkeys) {
      await showPasskey();
      await looked();
    }
  } catch {
    // What was not acknowledged is still shown as such.
  }
  poll();
});

// Severing

let cutting = null;

function openCut(button) {
  if (button.getAttribute("aria-disabled") === "true") return;
  cutting = button.integration;
  say(at("cut-title"), `Sever ${cutting.slug}`);
  say(at("cut-name"), cutting.slug);
  say(at("cut-problem"), "");
  at("reason").value = "";
  at("cut-form").hidden = false;
  at("cut-done").hidden = true;
  at("cut").showModal();
  at("reason").focus();
}

at("cut-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [confirm, integration, reason] = [at("cut-confirm"), cutting, at("reason").value.trim()];
  if (confirm.disabled) return;
  if ([...reason].length < 3) {
    at("reason").focus();
    return say(at("cut-problem"), "The reason needs at least 3 characters.");
  }
  say(at("cut-problem"), "");
  confirm.disabled = true;
  say(confirm, "Severing");
  touched = true;
  const begun = performance.now();
  try {
    const sever = () => ask("sever", { target: `integration:${integration.id}`, reason });
    let [answer, passed] = [await sever(), 0];
    let said = await answer.json();
    if (said.step_up && last.passkeys) {
      say(at("cut-problem"), "Your device asks for your passkey now.");
      const asked = performance.now();
      try {
        await showPasskey();
      } catch (error) {
        throw new NotShown(sentence(error));
      }
      passed = performance.now() - asked;
      say(at("cut-problem"), "");
      answer = await sever();
      said = await answer.json();
    }
    if (answer.ok) acknowledged(integration, said, performance.now() - begun - passed);
    else say(at("cut-problem"), `Not severed: ${said.detail}`);
  } catch (error) {
    if (error instanceof NotShown) say(at("cut-problem"), `Not severed: ${error.message}`);
    else say(at("cut-problem"), "No answer came. It may be severed all the same: look at its state below, or sever it in a terminal.");
  }
  confirm.disabled = false;
  say(confirm, "Sever");
  poll();
});

function acknowledged(integration, receipt, ms) {
  const nodes = receipt.nodes ?? [];
  const sum = (name) => grouped.format(nodes.reduce((all, node) => all + (node[name] ?? 0), 0));
  say(at("done-title"), `${integration.slug} is severed`);
  facts(at("done"), [
    ["Acknowledged", `${(receipt.micros / 1000).toFixed(1)} ms`, `${ms.toFixed(0)} ms as seen from here`],
    ["Settled", nodes.map((node) => node.settled).join(", ") || "unknown", "nothing more can leave"],
    ["Connections", sum("connections"), "were looked at"],
    ["Broken off", sum("aborted"), "replies under way"],
    ["Posture", `entry ${grouped.format(receipt.entry)}`, ""],
  ]);
  say(at("done-problem"), receipt.not_durable ? `It holds until this node restarts, and could not be made durable: ${receipt.not_durable}` : "");
  at("cut-form").hidden = true;
  at("cut-done").hidden = false;
  at("done-title").focus();
}

at("reason").addEventListener("input", () => say(at("cut-problem"), ""));
at("cut-cancel").addEventListener("click", () => at("cut").close());
at("done-close").addEventListener("click", () => at("cut").close());

// Passkeys

class NotShown extends Error {}

function offers({ passkeys, may_add_passkey: may }) {
  const [first, wants] = [passkeys === 0, passkeys === 0 && !may];
  at("passkey").hidden = passkeys === undefined || (first && !may);
  say(at("passkey"), first ? "Add a passkey" : "Add another passkey");
  at("unkeyed").hidden = !first;
  if (first) {
    const how = wants ? "Type `portcullis console` for another link, and add one within ten minutes." : "Add one now.";
    say(at("unkeyed"), `You have no passkey, so here you can look and nothing else. ${how}`);
  }
}

at("passkey").addEventListener("click", async () => {
  touched = true;
  say(at("added"), "Your device asks you now.");
  at("added").hidden = false;
  try {
    if (last.passkeys && !last.may_add_passkey) await showPasskey();
    await add();
    say(at("added"), "The passkey was added. Next time you log in with it, without a link.");
  } catch (error) {
    say(at("added"), sentence(error));
  }
  poll();
});

// Beginning

at("filter").addEventListener("input", () => last && rows(last.integrations));
at("leave").addEventListener("click", async () => {
  over = true;
  clearTimeout(timer);
  await settled(PATIENCE_MS);
  await ask("leave", {}).catch(() => {});
  localStorage.removeItem(KEY);
  location.replace("/console");
});
for (const event of ["pointerdown", "pointermove", "keydown", "wheel"]) addEventListener(event, () => (touched = true), { passive: true });
document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : poll()));
if (half()) poll();
else ended();
