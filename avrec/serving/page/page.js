"use strict";

const LENGTH = 12, STATUS_MS = 2000, TYPING_MS = 150;
const $ = (id) => document.getElementById(id);
const shown = { person: "", items: [], cards: new Map(), requestId: "", status: null, timer: 0 };

// An element: attributes by name, functions as listeners, children as text or elements.
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value != null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function say(words, wrong = false) {
  $("said").textContent = words;
  $("said").classList.toggle("wrong", wrong);
}

// A request to this service, in this browser's session. Throws what the service said.
async function ask(path, body, headers = {}) {
  const posted = body === undefined ? {} : { method: "POST", body: JSON.stringify(body) };
  const answer = await fetch(path, {
    ...posted,
    headers: { "Content-Type": "application/json", "X-Avrec-Page": "1", ...headers },
  });
  if (answer.status === 204) return null;
  const said = await answer.json();
  if (answer.ok) return said;
  if (answer.status === 401) closed();
  throw new Error(said.error.message);
}

const told = (work) => work().catch((error) => say(error.message, true));
const part = encodeURIComponent;
const length = (seconds) => seconds < 10 ? `${seconds.toFixed(1)} s`
  : `${Math.floor(Math.round(seconds) / 60)}:${String(Math.round(seconds) % 60).padStart(2, "0")}`;
const unique = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, "0")).join("");

function closed() {
  clearInterval(shown.timer);
  stop();
  $("lists").hidden = $("status").hidden = $("leave").hidden = true;
  $("enter").hidden = false;
  $("key").focus();
}

function view(name) {
  for (const one of ["lists", "status"]) {
    $(one).hidden = one !== name;
    $(`show-${one}`).setAttribute("aria-pressed", String(one === name));
  }
  clearInterval(shown.timer);
  if (name === "status") {
    shown.status = null;
    told(status);
    shown.timer = setInterval(() => told(status), STATUS_MS);
  }
}

async function open() {
  const state = await ask("page/status");
  $("model").textContent = `model ${state.model}`;
  const others = state.versions.filter((one) => one !== state.model);
  $("version").replaceChildren(el("option", { value: "" }, "no other version"), ...others.map((one) => el("option", { value: one }, one)));
  $("compare").hidden = !others.length;
  $("alone").hidden = Boolean(others.length);
  $("enter").hidden = true;
  $("leave").hidden = false;
  view("lists");
  await suggest();
  await show();
}

async function suggest() {
  const people = await ask(`page/people?q=${part($("person").value)}`);
  $("people").replaceChildren(...people.map((one) => el("option", { value: one })));
}

async function show() {
  const before = new Set(shown.items.map((item) => item.item_id)), begun = performance.now();
  const body = { k: LENGTH };
  if (shown.person) body.user_id = shown.person;
  const answer = await ask("v1/recommendations", body);
  const took = performance.now() - begun;
  const past = shown.person ? (await ask(`page/people/${part(shown.person)}`)).history : [];
  await learn([...answer.items, ...past].map((item) => item.item_id));
  shown.items = answer.items;
  shown.requestId = answer.request_id;
  list(answer, took, before);
  history(past);
  await compare();
  return answer.items.filter((item) => before.size && !before.has(item.item_id)).length;
}

async function learn(ids) {
  const lacking = [...new Set(ids)].filter((id) => !shown.cards.get(id)?.kind).slice(0, 200);
  if (!lacking.length) return;
  for (const card of await ask("page/items", { items: lacking })) shown.cards.set(card.item_id, card);
}

function list(answer, took, before) {
  $("list-title").textContent = shown.person ? `For ${shown.person}` : "For nobody in particular";
  const stages = Object.entries(answer.milliseconds).map(([name, ms]) => `${name} ${ms.toFixed(1)}`);
  $("times").textContent = `${took.toFixed(0)} ms there and back; ${stages.join(" · ")} ms; by ${answer.policy}`;
  $("list").replaceChildren(...answer.items.map((item) => card(item, before)));
}

// The list that another version makes for the same person, and where each item stands in this one.
async function compare() {
  const version = $("version").value;
  $("other").hidden = !version;
  $("both").classList.toggle("two", Boolean(version));
  if (!version) return;
  const body = { version, k: LENGTH, ...(shown.person ? { user_id: shown.person } : {}) };
  const items = await ask("page/beside", body);
  await learn(items.map((item) => item.item_id));
  const here = new Map(shown.items.map((item) => [item.item_id, item.rank]));
  $("other").replaceChildren(...items.map((item) => {
    const rank = here.get(item.item_id);
    const where = rank === item.rank ? "the same place" : rank ? `here at ${rank}` : "not in this list";
    return el("li", { class: "card" }, picture(item.item_id, item.rank), el("h3", {}, item.title),
      el("p", { class: "reason" }, item.reason),
      el("p", { class: rank === item.rank ? "facts" : "facts moved" }, `${where} · ${item.sources.join(", ")} · score ${item.score.toFixed(4)}`));
  }));
}

function card(item, before) {
  const known = shown.cards.get(item.item_id);
  const facts = [known?.kind, known?.seconds != null ? length(known.seconds) : null, `score ${item.score.toFixed(4)}`];
  if (item.propensity < 1) facts.push(`propensity ${item.propensity.toFixed(2)}`);
  const button = (words, act, disabled) =>
    el("button", { type: "button", "aria-label": `${words} ${item.title}`, click: () => told(act), disabled }, words);
  return el("li", { class: before.size && !before.has(item.item_id) ? "card fresh" : "card" },
    picture(item.item_id, item.rank),
    el("h3", {}, item.title),
    el("p", { class: "reason" }, item.reason),
    el("div", { class: "chips" }, ...[...item.sources, ...(known?.tags ?? [])].map((word) => el("span", { class: "chip" }, word))),
    el("p", { class: "facts" }, facts.filter(Boolean).join(" · ")),
    el("div", { class: "actions" },
      button("Play", () => play(item), !known?.kind),
      button("Like", () => tell(item, "like", "Liked")),
      button("Skip", () => tell(item, "skip", "Skipped"))));
}

function picture(id, rank) {
  const inside = shown.cards.get(id)?.pictured
    ? el("img", { src: `page/pictures/${part(id)}`, alt: "", loading: "lazy" }) : "no picture";
  return el("div", { class: "picture" }, inside, rank ? el("span", { class: "rank" }, String(rank)) : null);
}

function history(past) {
  $("history-title").textContent = past.length ? `History, ${past.length}` : "History";
  const rows = past.map((item) => el("li", {},
    picture(item.item_id), el("h3", {}, item.title),
    el("time", { datetime: item.at }, `${new Date(item.at).toLocaleString()} · weight ${item.weight.toFixed(1)}`)));
  $("history").replaceChildren(...(rows.length ? rows : [el("p", { class: "soft" }, "Nothing yet.")]));
}

async function tell(item, kind, words, position) {
  if (!shown.person) {
    say("Choose a person first, or type a new id: what nobody did changes nobody's list.", true);
    return;
  }
  const event = { event_id: unique(), user_id: shown.person, item_id: item.item_id, kind, request_id: shown.requestId };
  if (position !== undefined) event.position_seconds = position;
  const [verdict] = (await ask("v1/events", { events: [event] })).events;
  if (verdict.status === "refused") throw new Error(verdict.reason);
  const changed = await show();
  say(`${words} “${item.title}”. ${changed} of ${shown.items.length} places are new.`);
}

async function play(item) {
  const known = shown.cards.get(item.item_id);
  const medium = el(known.kind === "audio" ? "audio" : "video", { src: `page/media/${part(item.item_id)}`, controls: true, playsinline: true });
  medium.addEventListener("ended", () => told(() => tell(item, "complete", "Finished", medium.duration)));
  medium.addEventListener("error", () => say("This browser cannot play that file.", true));
  $("playing").textContent = item.title;
  const wave = known.kind === "audio" && known.pictured ? el("img", { src: `page/pictures/${part(item.item_id)}`, alt: "" }) : null;
  $("medium").replaceChildren(...[wave, medium].filter(Boolean));
  $("player").hidden = false;
  medium.focus();
  await medium.play().catch(() => null);  // the browser wants another click, on the controls
  if (shown.person) await tell(item, "play", "Playing");
}

function stop() {
  $("medium").replaceChildren();
  $("player").hidden = true;
}

async function status() {
  const now = await ask("page/status"), at = performance.now(), last = shown.status;
  shown.status = { now, at };
  const seconds = last ? (at - last.at) / 1000 : 0;
  const rate = (to, from) => seconds ? ((to - from) / seconds).toFixed(1) : "…";
  const facts = [
    ["requests a second", rate(now.requests, last?.now.requests)], ["requests", now.requests], ["failed", now.failed],
    ["items", now.items], ["people", now.people], ["model", now.model], ["policy", now.policy], ["avrec", now.code],
  ];
  $("facts").replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name),
    el("dd", { class: typeof value === "string" && value.length > 9 ? "small" : "" }, typeof value === "number" ? value.toLocaleString() : value))));
  $("stages").replaceChildren(...Object.entries(now.stages).map(([name, stage]) => {
    const past = last?.now.stages[name], cells = [name, rate(stage.count, past?.count ?? 0)];
    const before = past && past.count < stage.count ? past : null;  // nothing new: times since the start
    const mean = (stage.seconds - (before?.seconds ?? 0)) / (stage.count - (before?.count ?? 0));
    cells.push(`${(1000 * mean).toFixed(2)} ms`, within(stage, before, 0.5), within(stage, before, 0.99));
    return el("tr", {}, ...cells.map((cell) => el("td", {}, cell)));
  }));
  $("index").replaceChildren(...now.index.map((one) => el("tr", {}, ...[one.name, one.items?.toLocaleString() ?? "–", one.dim ?? "–", one.search].map((cell) => el("td", {}, String(cell))))));
}

// The smallest edge of a bucket within which a share of what came since `before` was done.
function within(stage, before, share) {
  const counts = stage.buckets.map((n, i) => n - (before?.buckets[i] ?? 0));
  const all = stage.count - (before?.count ?? 0);
  const place = counts.findIndex((n) => n >= share * all);
  return place < 0 ? `over ${stage.edges.at(-1)} s` : `${1000 * stage.edges[place]} ms`;
}

$("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = $("key").value.trim();
  $("key").value = "";
  told(async () => {
    await ask("page/session", {}, { Authorization: `Bearer ${key}` });
    say("");
    await open();
    $("person").focus();
  });
});
$("who").addEventListener("submit", (event) => {
  event.preventDefault();
  shown.person = $("person").value.trim();
  shown.items = [];
  say("");
  told(show);
});
$("person").addEventListener("input", () => {
  clearTimeout(shown.typing);
  shown.typing = setTimeout(() => told(suggest), TYPING_MS);
});
$("version").addEventListener("change", () => told(compare));
$("close").addEventListener("click", stop);
$("leave").addEventListener("click", () => told(async () => { await ask("page/leave", {}); closed(); }));
for (const name of ["lists", "status"]) $(`show-${name}`).addEventListener("click", () => $("enter").hidden && view(name));
open().catch(() => { say(""); closed(); });
