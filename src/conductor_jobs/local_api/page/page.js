// The page: what is heard goes into the model, and the views show it, at most a few times a second.

import { announce } from "./announcer.js";
import { Commands, token } from "./commands.js";
import { by, say, set } from "./dom.js";
import { Feed, Refusal, read } from "./feed.js";
import { showLead } from "./lead.js";
import { Model } from "./model.js";
import { showErrors, showNodes, toggleErrors } from "./nodes.js";
import { showRunners, startRunners } from "./runners.js";
import { showTimeline, startTimeline } from "./timeline.js";
import { clock, showUTC, span } from "./times.js";

const SHOW_EVERY = 200;
// What a node tells of due instants is of one moment. So many runners are asked for at once, and the more there are
// the less often.
const PAGE = 1000;
const DUE_EVERY = 5000;
const DUE_EVERY_OF_MANY = 60_000;

const model = new Model();
const feed = new Feed(token, { opened, event: heard, status: heardStatus, lost, locked });
const commands = new Commands(model, show, tokenChanged);
let retryAt = null;
let runnersAt = 0;
let asking = null;

/** Ask for what events do not repeat; `resumed`: the ticks and errors that were missed come as events. */
async function opened(resumed) {
  const asked = [ask("v1/status"), ask("v1/nodes"), allRunners()];
  // An answer of many ticks may be half a second old, and so miss what came before the first event: hence the latest too.
  if (!resumed || model.ticksSince === null) asked.push(ask("v1/ticks?limit=4000"), ask("v1/ticks?limit=500"));
  const [status, nodes, runners, ticks, latest] = await Promise.all(asked);
  model.takeStatus(status);
  model.takeNodes(nodes);
  model.takeRunners(runners);
  if (ticks) model.takeTicks(ticks, latest);
  runnersAt = Date.now();
  model.link = { kind: "live", since: Date.now(), why: "" };
  show();
}

const ask = (path) => read(path, token());

async function allRunners() {
  const runners = [];
  for (let offset = 0, count = 1; offset < count; offset += PAGE) {
    const page = await ask(`v1/runners?limit=${PAGE}&offset=${offset}`);
    count = page.runner_count;
    runners.push(...page.runners);
  }
  return runners;
}

function heard(kind, data) {
  const { all, runners } = model.takeEvent(kind, data);
  if (all) again(true);
  else if (runners) again(false);
  show();
}

function heardStatus(status) {
  model.takeStatus(status);
  show();
}

/** Ask again, once what was asked for already has come; of a failure the stream will tell. */
async function again(all) {
  if (asking) {
    asking.all ||= all;
    asking.more = true;
    return;
  }
  asking = { all, more: true };
  while (asking.more) {
    asking.more = false;
    const everything = asking.all;
    asking.all = false;
    runnersAt = Date.now();
    try {
      if (everything) await opened(false);
      else model.takeRunners(await allRunners());
    } catch (error) {
      if (!(error instanceof Refusal)) break;
    }
    show();
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  asking = null;
}

/** Due instants pass, and whoever stands by hears of the leader's claims by asking only. */
function askForDue() {
  const every = model.runners.size > PAGE ? DUE_EVERY_OF_MANY : DUE_EVERY;
  if (!model.live || document.hidden || Date.now() - runnersAt < every) return;
  const scheduled = [...model.runners.values()].filter((runner) => runner.schedule !== null);
  const standby = model.status.leadership === "standby";
  if (scheduled.length && (standby || scheduled.some((runner) => isUsedUp(runner.next_due_at)))) again(false);
}

/** A connection that stands needs no other token. */
function tokenChanged() {
  if (model.link.kind === "locked") feed.retry();
  show();
}

/** Of the instants that were told of at most one is ahead. */
const isUsedUp = (instants) => instants.length > 0 && Date.parse(instants.at(-2) ?? instants[0]) <= model.now;

function lost(why, tryAt) {
  retryAt = tryAt;
  const { kind, since } = model.link;
  model.link = { kind: "lost", since: kind === "lost" || kind === "connecting" ? since : Date.now(), why };
  showNow();
}

function locked(why) {
  const { kind, since } = model.link;
  model.link = { kind: "locked", since: kind === "locked" ? since : Date.now(), why };
  showNow();
  commands.askForToken(`Reading needs the token: ${why}`);
}

let shownAt = 0;
let waiting = null;

/** Show what has changed, soon. */
function show() {
  waiting ??= setTimeout(showNow, Math.max(0, shownAt + SHOW_EVERY - Date.now()));
}

function showNow() {
  clearTimeout(waiting);
  waiting = null;
  shownAt = Date.now();
  showLink();
  showLead(model);
  showNodes(model);
  showErrors(model);
  showTimeline(model);
  showRunners(model, commands.busy);
  showCommands();
  announce(model);
}

const LINK_WORDS = { connecting: "connecting", live: "live", lost: "connection lost", locked: "token needed" };

function showLink() {
  const { kind, since, why } = model.link;
  set(document.body, "data-link", kind);
  set(by("all"), "aria-busy", kind === "connecting" ? "true" : null);
  say(by("link-text"), LINK_WORDS[kind]);
  by("lost").hidden = kind === "live" || kind === "connecting";
  if (model.status) document.title = titleOf();
  if (by("lost").hidden) return;
  const past = model.status === null ? "No connection" : "Connection lost";
  const stopped = model.status?.stopping || model.status?.started === false ? "; it had said that it was stopping" : "";
  say(by("lost-since"), kind === "locked" ? "Nothing is read without the token." : `${past} since ${clock(since, Date.now())}.`);
  say(by("lost-why"), kind === "locked" ? `The node says: ${why}` : `${why}${stopped}.${model.status ? " What is shown is from then." : ""}`);
  const away = Math.max(0, (retryAt - Date.now()) / 1000);
  say(by("lost-next"), kind === "locked" ? "" : away > 0.5 ? `Next try in ${span(Math.ceil(away))}.` : "Trying…");
  say(by("try-now"), kind === "locked" ? "Give the token" : "Try now");
}

function titleOf() {
  const failing = [...model.runners.values()].filter((runner) => model.isFailing(runner)).length;
  const state = !model.live ? "not connected" : failing ? `${failing} failing` : model.status.leadership;
  return `${state} – ${model.status.node.node_id}`;
}

function showCommands() {
  const { status } = model;
  if (!status) return;
  by("tick-now").hidden = status.leadership !== "leader" || ![...model.runners.values()].some((runner) => runner.schedule === null);
  by("resign").hidden = status.leadership !== "leader";
  for (const id of ["tick-now", "resign"]) set(by(id), "aria-busy", commands.busy.has(id.replace("-now", "")) ? "true" : null);
  say(by("token"), token() === null ? "Token…" : "Token kept…");
}

function start() {
  startTimeline(showNow);
  startRunners(showNow, (name, action) => commands.ofRunner(name, action));
  by("zone").addEventListener("click", () => {
    const wanted = by("zone").getAttribute("aria-pressed") !== "true";
    set(by("zone"), "aria-pressed", String(wanted));
    showUTC(wanted);
    showNow();
  });
  by("more-errors").addEventListener("click", () => {
    toggleErrors();
    showNow();
  });
  by("tick-table").addEventListener("toggle", showNow);
  by("try-now").addEventListener("click", () => {
    if (model.link.kind === "locked") commands.askForToken("Reading needs the token.");
    else feed.retry();
  });
  setInterval(() => {
    showNow();
    askForDue();
  }, 1000);
  feed.run();
}

start();
