// Who leads, how this node stands, and what needs attention: the sentences at the top.

import { by, h, put, say, set } from "./dom.js";
import { clock, duration, span } from "./times.js";

const still = matchMedia("(prefers-reduced-motion: reduce)");

export function showLead(model) {
  const { status } = model;
  if (!status) return;
  say(by("lease-name"), status.lease_name);
  say(by("whose"), `page of ${status.node.node_id} on ${status.node.host}, version ${status.node.version}`);
  showLeader(model);
  say(by("node-state"), model.live ? stateOf(model) : `${stateOf(model)}, when last heard`);
  say(by("node-more"), moreOf(model));
  set(by("node-state").parentElement, "data-state", status.degraded || !status.started ? "bad" : "good");
  const notes = notesOf(model);
  by("notes").hidden = notes.length === 0;
  put(by("notes"), notes.join("\n"), () => notes.map((note) => h("li", {}, note)));
}

/** Return in one sentence who leads, as a screen reader is told when that changes. */
export function leaderSentence(model) {
  const lease = model.lease();
  if (lease === null) return "It is not known yet who leads";
  if (lease.remaining > 0) return `${lease.holder} leads`;
  return model.storeProblem === null ? "Nobody leads" : "It is not known who leads";
}

/** Return this node's state in words. */
export function stateOf({ status }) {
  if (!status.started) return "does not run";
  if (status.stopping) return "is stopping";
  if (status.degraded) return "is degraded";
  if (status.leadership === "leader") return "leads";
  return status.settled ? "stands by" : "is starting";
}

function showLeader(model) {
  const { status, live } = model;
  const lease = model.lease();
  say(by("leader"), live ? leaderSentence(model) : `When last heard: ${leaderSentence(model)}`);
  const remaining = lease && live ? Math.max(0, lease.remaining) : 0;
  set(by("meter"), "data-state", remaining === 0 ? "out" : remaining < status.ttl / 3 ? "late" : "good");
  // A screen reader that looks at it hears a figure; none is told of each second.
  set(by("meter"), "aria-valuenow", status.ttl ? (remaining / status.ttl).toFixed(2) : 0);
  set(by("meter"), "aria-valuetext", remainingText(model, lease, remaining));
  say(by("remaining"), remainingText(model, lease, remaining));
  drain(remaining, status.ttl, live ? `${lease?.holder} ${lease?.term} ${status.now}` : "lost");
}

function remainingText(model, lease, remaining) {
  if (!model.live) return "how the lease stands now is not known";
  if (lease === null) return "the store has not answered yet";
  const term = `term ${lease.term}`;
  if (remaining === 0) return lease.term ? `the lease has run out, the latest was ${term}` : "no term has begun yet";
  return `for ${span(remaining)} more unless renewed, ${term}, lease of ${duration(model.status.ttl)}`;
}

let drained = "";
let animation = null;

/** Let the bar empty by itself until the next renewal is told of; by steps, for those who want no motion. */
function drain(remaining, ttl, renewal) {
  const fill = by("fill");
  const part = `scaleX(${Math.min(1, ttl ? remaining / ttl : 0)})`;
  if (still.matches) {
    animation?.cancel();
    animation = null;
    drained = "";
    fill.style.transform = part;
  } else if (renewal !== drained) {
    drained = renewal;
    fill.style.transform = "scaleX(0)";
    const before = animation ? getComputedStyle(fill).transform : part;
    animation?.cancel();
    const refill = { transform: part, offset: remaining > 1 ? 0.25 / remaining : 0 };
    const frames = [{ transform: before === "none" ? part : before }, refill, { transform: "scaleX(0)" }];
    animation = fill.animate(frames, { duration: remaining * 1000, fill: "forwards" });
  }
}

function moreOf({ status, now, live }) {
  if (!status.started) return "the conductor is not running, or has stopped";
  if (status.stopping) return "what is at work is brought to its end, then the lease is given back";
  if (status.degraded || status.problem !== null) {
    const calls = status.consecutive_renew_failures;
    return `${calls} calls of the store in a row have failed: ${status.problem ?? status.lease_problem ?? ""}`;
  }
  if (!status.settled) return "the store has not answered yet";
  const store = status.lease_problem === null ? "the store answers" : `the store failed: ${status.lease_problem}`;
  return live ? store : `${store}; as of ${clock(now, now)}`;
}

function notesOf({ status }) {
  const notes = status.overruns.map(({ work, term, seconds }) =>
    `${work} of term ${term} is still at work ${span(seconds)} after its lease ran out: it may meet its successor.`);
  if (status.drift.length) {
    notes.push(`Registry drift: ${status.drift.join(", ")} ${status.drift.length === 1 ? "has" : "have"} other ` +
      "runners or schedules registered than this leader.");
  }
  if (status.entries_lost) notes.push(`${status.entries_lost} journal entries were lost: the disk did not take them.`);
  if (status.missed_interval_count) {
    notes.push(`${status.missed_interval_count} ticks of the interval were left out: the one before was still at work.`);
  }
  return notes;
}
