// Chooses the view that the address names, asks the server once a second, and hands on what it says.
// Nothing is asked while the page is hidden; while the server is away it is asked ever less often.

import { count, element, seconds, setText } from "/format.js";
import { VIEWS } from "/views.js";

const PERIOD_MS = 1000;
const LONGEST_WAIT_MS = 15_000;
const PATIENCE_MS = 10_000;
const MINUTE_MS = 60_000;
const KEPT_SECONDS = 15 * 60;
const KEPT_MINUTES = 24 * 60;

const main = document.getElementById("view");
const status = document.getElementById("status");
const about = document.getElementById("about");
const alarm = document.getElementById("alarm");
const tabs = new Map();

const state = {
  overview: null,
  seconds: [],
  minutes: [],
  data: null,
  refresh: () => schedule(0),
};
let view = null;
let timer = 0;
let failures = 0;
let minutesAskedMs = 0;
let round = 0;

async function ask(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!response.ok) {
    throw new Error((await response.text()).trim() || `status ${response.status}`);
  }
  return response.json();
}

function append(kept, samples, length) {
  kept.push(...samples);
  kept.splice(0, Math.max(0, kept.length - length));
}

async function poll() {
  const asked = view;
  const overview = await ask("/api/overview");
  if (state.overview?.run_id !== overview.run_id) {
    // Another run of the server: its counters began anew.
    state.seconds = [];
    state.minutes = [];
    minutesAskedMs = 0;
  }
  state.overview = overview;
  const history = await ask(`/api/history?after=${state.seconds.at(-1)?.time_ms ?? 0}`);
  append(state.seconds, history.samples, KEPT_SECONDS);
  if (asked.needsMinutes && overview.now_ms - minutesAskedMs > MINUTE_MS / 4) {
    const minutes = await ask(`/api/history?range=minutes&after=${state.minutes.at(-1)?.time_ms ?? 0}`);
    append(state.minutes, minutes.samples, KEPT_MINUTES);
    minutesAskedMs = overview.now_ms;
  }
  const data = asked.path ? await ask(asked.path) : null;
  if (asked === view) {
    state.data = data;
    asked.update(state);
    main.removeAttribute("aria-busy");
  }
  // The view of durability says the same by itself, and more.
  alarm.hidden = overview.alarm === null || view.constructor.id === "durability";
  alarm.className = `alarm ${overview.alarm?.health ?? ""}`;
  setText(alarm.firstElementChild, overview.alarm?.state ?? "");
  const up = Math.floor((overview.now_ms - overview.started_ms) / 1000);
  setText(about, `${overview.version} · ${overview.threads} ${overview.threads === 1 ? "thread" : "threads"} · up ${seconds(up - (up > 60 ? up % 60 : 0))}`);
  document.title = `Nuthatch · ${count(state.seconds.at(-1)?.commands ?? 0)}/s`;
}

async function tick() {
  const mine = ++round;
  try {
    await poll();
    failures = 0;
    show("live", "live");
  } catch (error) {
    failures += 1;
    show("away", `no answer, asking again (${error.message})`);
  }
  if (mine === round) {
    schedule(failures === 0 ? PERIOD_MS : Math.min(LONGEST_WAIT_MS, PERIOD_MS * 2 ** failures));
  }
}

function show(kind, text) {
  status.className = `status ${kind}`;
  setText(status, text);
}

function schedule(waitMs) {
  clearTimeout(timer);
  if (document.hidden) {
    show("paused", "paused");
    return;
  }
  timer = setTimeout(tick, waitMs);
}

function open() {
  const id = location.hash.slice(1);
  const Chosen = VIEWS.find((candidate) => candidate.id === id) ?? VIEWS[0];
  view?.close?.();
  view = new Chosen(state);
  for (const [name, link] of tabs) {
    if (name === Chosen.id) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else {
      link.removeAttribute("aria-current");
    }
  }
  main.setAttribute("aria-busy", "true");
  main.replaceChildren(view.root);
  if (state.overview && !view.path) {
    view.update(state);
  }
  schedule(0);
}

for (const { id, title } of VIEWS) {
  const link = element("a", { href: `#${id}` }, title);
  tabs.set(id, link);
  document.getElementById("tabs").append(element("li", {}, link));
}
addEventListener("hashchange", () => {
  if (location.hash !== "#view") {
    open();
  }
});
document.addEventListener("visibilitychange", () => schedule(0));
open();
