// The ticks of the last hour, minute by minute: what place a mark has tells its kind, and not only its colour.

import { by, h, put, say, set, svg } from "./dom.js";
import { clock, duration, minuteOfDay, utc } from "./times.js";

const MINUTE = 60_000;
const MINUTES = 60;
const MOST_ROWS = 100;
const LANES = [
  { kind: "completed", label: "ran", height: 40 },
  { kind: "failed", label: "failed", height: 12 },
  { kind: "skipped", label: "skipped", height: 12 },
];
const WORDS = {
  scheduled: "ran",
  failed: "failed",
  interrupted: "interrupted",
  skipped_busy: "skipped: another was at work",
  skipped_no_runners: "skipped: no runners",
  skipped_not_leader: "skipped: this node did not lead",
  skipped_stopping: "skipped: the node was stopping",
};

let chosen = MINUTES - 1;

/** Let the arrow keys and the pointer choose a minute, whose ticks are told below. */
export function startTimeline(changed) {
  const plot = by("plot");
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -60, End: 60 };
  plot.addEventListener("keydown", (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    choose(chosen + steps[event.key], changed);
  });
  plot.addEventListener("pointermove", (event) => {
    const { left, width } = plot.querySelector("svg")?.getBoundingClientRect() ?? { left: 0, width: 0 };
    if (width) choose(Math.floor(((event.clientX - left) / width) * MINUTES), changed);
  });
}

function choose(minute, changed) {
  chosen = Math.min(MINUTES - 1, Math.max(0, minute));
  changed();
}

export function showTimeline(model) {
  if (!model.status) return;
  const { now, ticks } = model;
  const first = (Math.floor(now / MINUTE) - MINUTES + 1) * MINUTE;
  const minutes = minutesOf(ticks.values(), first, now);
  const from = Math.min(MINUTES, Math.max(0, ((model.ticksSince ?? first) - first) / MINUTE));
  const counts = minutes.map((each) => [each.completed, each.failed, each.skipped, each.busy]);
  const since = from > 0 ? `, known since ${clock(model.ticksSince, now)}` : "";
  say(by("ticks-of"), `of ${model.status.node.node_id}${since}`);
  const key = JSON.stringify([counts, minuteOfDay(first), from.toFixed(1), chosen]);
  put(by("plot"), key, () => rowsOf(minutes, from, first));
  const text = textOf(minutes[chosen], first + chosen * MINUTE, chosen + 1 <= from, now);
  say(by("minute"), text);
  set(by("plot"), "aria-valuenow", chosen - MINUTES + 1);
  set(by("plot"), "aria-valuetext", text);
  if (by("tick-table").open) showTable(ticks, now);
}

function minutesOf(ticks, first, now) {
  const minutes = Array.from({ length: MINUTES }, () => ({ completed: 0, failed: 0, skipped: 0, busy: false, told: [], why: new Set() }));
  const place = (at) => Math.floor((at - first) / MINUTE);
  for (const tick of ticks) {
    const end = tick.ended_at === null ? now : Date.parse(tick.ended_at);
    const start = tick.started_at === null ? end : Date.parse(tick.started_at);
    const last = kindOf(tick) === "skipped" ? -1 : Math.min(place(end), MINUTES - 1);
    for (let at = Math.max(0, place(start)); at <= last; at += 1) minutes[at].busy = true;
    const minute = minutes[place(end)];
    if (!minute || tick.ended_at === null) continue;
    minute[kindOf(tick)] += 1;
    if (kindOf(tick) === "failed") minute.told.push(...namesOf(tick));
    if (kindOf(tick) === "skipped") minute.why.add(WORDS[tick.decision]?.replace("skipped: ", "") ?? tick.decision);
  }
  return minutes;
}

function kindOf({ decision, failed_runner_count: failed }) {
  if (decision?.startsWith("skipped")) return "skipped";
  return failed || decision !== "scheduled" ? "failed" : "completed";
}

function namesOf({ failures, decision, error }) {
  if (failures.length) return failures.map((failure) => failure.runner);
  return [error ?? decision ?? "a tick"];
}

function rowsOf(minutes, from, first) {
  const lanes = LANES.flatMap(({ kind, label, height }) => {
    const counts = minutes.map((minute) => minute[kind]);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const [name, sum] = [h("span", { class: "label" }, label), h("span", { class: "total" }, String(total))];
    return [name, laneOf(kind, height, counts, minutes, from), sum];
  });
  const moments = [0, 15, 30, 45].map((minute) => h("span", {}, minuteOfDay(first + minute * MINUTE)));
  return [...lanes, h("span", {}), h("div", { class: "axis" }, ...moments), h("span", {}, "now")];
}

function laneOf(kind, height, counts, minutes, from) {
  const most = Math.max(1, ...counts);
  const lane = svg("svg", {
    class: `lane ${kind}`, viewBox: `0 0 ${MINUTES * 10} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true",
  });
  // What is not known stays hatched.
  lane.append(svg("rect", { class: "known", x: from * 10, y: 0, width: (MINUTES - from) * 10, height }));
  lane.append(svg("rect", { class: "chosen", x: chosen * 10, y: 0, width: 10, height }));
  counts.forEach((count, index) => {
    // One of many is to be seen too.
    const tall = count ? Math.max(4, (count / most) * (height - 4)) : 0;
    if (count) lane.append(svg("rect", { class: "bar", x: index * 10 + 1, y: height - 3 - tall, width: 8, height: tall }));
    if (kind === "completed" && minutes[index].busy) {
      lane.append(svg("rect", { class: "busy", x: index * 10, y: height - 2, width: 10, height: 2 }));
    }
  });
  return lane;
}

function textOf({ completed, failed, skipped, busy, told, why }, at, unknown, now) {
  const minute = at + MINUTE > now ? `${minuteOfDay(at)}, this minute` : minuteOfDay(at);
  if (unknown && !completed && !failed && !skipped) return `${minute}: not known, the local API did not run`;
  const parts = [];
  if (completed) parts.push(`${completed} ran`);
  if (failed) parts.push(`${failed} failed (${[...new Set(told)].slice(0, 5).join(", ")})`);
  if (skipped) parts.push(`${skipped} skipped (${[...why].join(", ")})`);
  return `${minute}: ${parts.join(", ") || (busy ? "at work" : "no ticks ended")}`;
}

function showTable(ticks, now) {
  const latest = [...ticks.values()].slice(-MOST_ROWS).reverse();
  const key = JSON.stringify([latest.map((tick) => [tick.batch_id, tick.ended_at]), minuteOfDay(now)]);
  put(by("tick-rows"), key, () => latest.map((tick) => tickRow(tick, now)));
}

function tickRow(tick, now) {
  const at = Date.parse(tick.started_at ?? tick.ended_at);
  const became = tick.ended_at === null ? "at work" : (WORDS[tick.decision] ?? tick.decision ?? "ended");
  const failed = tick.failed_runner_count ? `, ${tick.failed_runner_count} failed` : "";
  const texts = [
    tick.trigger ?? "", tick.error ? `${became}: ${tick.error}` : `${became}${failed}`,
    tick.duration_ms === null ? "" : duration(tick.duration_ms / 1000), tick.runner ?? String(tick.runner_count),
  ];
  return h("tr", { role: "row" },
    h("th", { role: "rowheader", scope: "row" }, h("time", { title: utc(at) }, clock(at, now))),
    ...texts.map((text) => h("td", { role: "cell" }, text)));
}
