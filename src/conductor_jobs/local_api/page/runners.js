// The runners: a row each, which stays the same element while it lasts, so that focus and pointer find it where it was.

import { by, h, put, say, set, shape } from "./dom.js";
import { inWords, sparkline } from "./sparkline.js";
import { clock, distance, duration, span, utc } from "./times.js";

const AT_FIRST = 300;
const FEW = 8;
const KINDS = [
  { id: "all", label: "All", wanted: () => true },
  { id: "failing", label: "Failing", wanted: (runner, model) => model.isFailing(runner) },
  { id: "work", label: "At work", wanted: (runner, model) => model.isAtWork(runner) },
  { id: "paused", label: "Paused", wanted: (runner) => runner.paused },
];
const WORDS = {
  completed: "completed", failed: "failed", cancelled: "cancelled", unknown: "cut off, outcome unknown", none: "no run seen",
};

const rows = new Map();
let kind = "all";
let most = AT_FIRST;
let order = "";

/** Have the filters work, and the buttons: `command(name, action, button)`. */
export function startRunners(changed, command) {
  put(by("kinds"), "made", () => KINDS.map(({ id, label }) =>
    h("button", { type: "button", class: "chip", "data-kind": id, "aria-pressed": String(id === kind) }, label)));
  by("kinds").addEventListener("click", ({ target }) => {
    if (target.dataset.kind === undefined) return;
    choose(target.dataset.kind);
    changed();
  });
  by("filter").addEventListener("input", changed);
  by("more-runners").addEventListener("click", () => {
    most += AT_FIRST;
    changed();
  });
  by("runners").addEventListener("click", ({ target }) => {
    const button = target.closest("button");
    if (button) command(button.closest("tr").runner, button.dataset.action, button);
  });
}

/** Show the runners of one kind only. */
export function choose(id) {
  kind = id;
  for (const chip of by("kinds").children) set(chip, "aria-pressed", String(chip.dataset.kind === kind));
}

export function showRunners(model, busy) {
  const { status } = model;
  if (!status) return;
  const all = [...model.runners.values()];
  say(by("runner-count"), String(status.runner_count));
  showHealth(model, all);
  showKinds(model, all);
  const wanted = KINDS.find(({ id }) => id === kind).wanted;
  const text = by("filter").value.toLowerCase();
  const found = all.filter((runner) => wanted(runner, model) && runner.name.toLowerCase().includes(text));
  found.sort((one, other) => model.isFailing(other) - model.isFailing(one));
  arrange(found.slice(0, most));
  for (const runner of found.slice(0, most)) rows.get(runner.name).show(model, runner, busy);
  by("runners").hidden = found.length === 0;
  by("no-runners").hidden = found.length !== 0;
  say(by("no-runners"), all.length ? "None of the runners is like that." : "No runners are registered on this node.");
  by("more-runners").hidden = found.length <= most;
  say(by("more-runners"), `Show more of ${found.length}`);
}

function showHealth(model, all) {
  const failing = all.filter((runner) => model.isFailing(runner)).map((runner) => runner.name);
  const seen = all.some((runner) => model.last(runner).kind !== "none");
  const named = failing.slice(0, 2).join(", ") + (failing.length > 2 ? ` and ${failing.length - 2} more` : "");
  const well = seen ? "all are well" : "no run seen yet";
  say(by("health"), failing.length ? `${failing.length} failing: ${named}` : all.length ? well : "none");
  set(by("health").parentElement, "data-state", failing.length ? "bad" : "good");
  const paused = all.filter((runner) => runner.paused).length;
  const working = all.filter((runner) => model.isAtWork(runner)).map((runner) => runner.name);
  const more = working.length > 3 ? ` and ${working.length - 3} more` : "";
  const work = working.length ? `at work: ${working.slice(0, 3).join(", ")}${more}` : "none at work";
  say(by("at-work"), paused ? `${work}; ${paused} paused` : work);
}

function showKinds(model, all) {
  by("filters").hidden = all.length <= FEW;
  for (const chip of by("kinds").children) {
    const { label, wanted, id } = KINDS.find((each) => each.id === chip.dataset.kind);
    say(chip, id === "all" ? label : `${label} ${all.filter((runner) => wanted(runner, model)).length}`);
  }
}

/** Put the rows in order, but move none under a pointer or away from the focus. */
function arrange(runners) {
  const body = by("runners").tBodies[0];
  const names = new Set(runners.map((runner) => runner.name));
  const held = by("runners").matches(":hover, :focus-within");
  for (const [name, row] of rows) {
    if (names.has(name)) continue;
    row.element.remove();
    rows.delete(name);
  }
  const added = runners.filter((runner) => !rows.has(runner.name)).map((runner) => new Row(runner));
  for (const row of added) rows.set(row.element.runner, row);
  const wanted = JSON.stringify([...names]);
  if (held && body.childElementCount) body.append(...added.map((row) => row.element));
  else if (wanted !== order || added.length) {
    order = wanted;
    body.append(...runners.map((runner) => rows.get(runner.name).element));
  }
}

class Row {
  constructor(runner) {
    this.what = h("span", { class: "quiet" });
    this.flag = h("span", { class: "flag" });
    this.result = h("div", { class: "result" });
    this.error = h("p", { class: "error" });
    this.spark = h("td", { role: "cell", "data-label": "Durations" });
    this.due = h("td", { role: "cell", "data-label": "Next due" });
    this.run = h("button", { type: "button", "data-action": "run" }, "Run now");
    this.pause = h("button", { type: "button" });
    set(this.run, "aria-label", `Run ${runner.name} now`);
    this.element = h("tr", { role: "row" },
      h("th", { role: "rowheader", scope: "row" }, h("p", {}, h("span", { class: "name" }, runner.name), " ", this.flag), this.what),
      h("td", { role: "cell", "data-label": "Last run" }, this.result, this.error),
      this.spark, this.due,
      h("td", { role: "cell" }, h("div", { class: "commands" }, this.run, this.pause)));
    this.element.runner = runner.name;
  }

  show(model, runner, busy) {
    const last = model.last(runner);
    say(this.what, whatOf(runner, model.status));
    this.#showFlag(model, runner);
    this.#showResult(model, runner, last);
    const { runs } = runner;
    put(this.spark, JSON.stringify([runs.durations_ms, runs.outcomes]), () =>
      runs.durations_ms.length ? [sparkline(runs), h("span", { class: "quiet" }, brief(runs))] : [h("span", { class: "quiet" }, "–")]);
    this.#showDue(model, runner);
    const action = runner.paused ? "resume" : "pause";
    set(this.pause, "data-action", action);
    say(this.pause, runner.paused ? "Resume" : "Pause");
    set(this.pause, "aria-label", `${runner.paused ? "Resume" : "Pause"} ${runner.name}`);
    for (const button of [this.run, this.pause]) {
      set(button, "aria-busy", busy.has(`${runner.name} ${button.dataset.action}`) ? "true" : null);
    }
    set(this.run, "aria-disabled", model.status.leadership === "leader" ? null : "true");
    set(this.element, "data-state", ["failed", "unknown"].includes(last.kind) ? "bad" : null);
  }

  #showFlag(model, runner) {
    const { paused, runs } = runner;
    const flags = [];
    if (model.isAtWork(runner)) {
      const seconds = runs.at_work_since && model.live ? (model.now - Date.parse(runs.at_work_since)) / 1000 : 0;
      flags.push(["work", seconds < 1 ? "at work" : `at work for ${span(seconds)}`]);
    }
    if (paused) flags.push(["paused", "paused"]);
    put(this.flag, JSON.stringify(flags), () => flags.map(([each, text]) => h("span", { class: each }, shape(each), text)));
  }

  #showResult({ now, live }, runner, { kind, run, claim }) {
    const at = run ? Date.parse(run.ended_at) : claim ? Date.parse(claim.due_at) : null;
    const took = run?.duration_ms == null ? "" : ` in ${duration(run.duration_ms / 1000)}`;
    const when = at === null ? "" : `${claim ? "due " : ""}${clock(at, now)}${live ? `, ${distance(at, now)}` : ""}`;
    const told = run && !["ok", null, run.outcome].includes(run.result) ? `: ${run.result}` : "";
    const text = `${WORDS[kind]}${took}${told}`;
    put(this.result, JSON.stringify([kind, text, when]), () => [
      h("span", { class: `outcome-of ${kind}` }, shape(kind), text),
      at === null ? "" : h("time", { class: "quiet", title: utc(at) }, when),
    ]);
    const error = run?.error ?? (claim && kind !== "completed" ? `in term ${claim.term}: why is told by the page or the journal of the node that led` : "");
    say(this.error, error);
    set(this.error, "class", run ? "error" : "quiet");
    this.error.hidden = error === "";
  }

  #showDue({ now, live, status }, { schedule, paused, next_due_at: next }) {
    if (schedule === null) return put(this.due, "tick", () => [h("span", { class: "quiet" }, "with each tick")]);
    // The first instants that were told of may have passed since.
    const ahead = next.find((each) => Date.parse(each) > now) ?? next.at(-1);
    const at = ahead === undefined ? null : Date.parse(ahead);
    if (at === null) return put(this.due, "none", () => [h("span", { class: "quiet" }, "never again")]);
    const away = at <= now ? "due" : distance(at, now);
    const when = paused ? "paused" : live ? away : "";
    const titles = next.slice(next.indexOf(ahead)).map((each) => utc(Date.parse(each))).join("\n");
    return put(this.due, JSON.stringify([at, clock(at, now), when]), () => [
      h("time", { datetime: ahead, title: titles }, clock(at, now)), h("span", { class: "quiet" }, when),
    ]);
  }
}

function whatOf({ schedule, tz, description }, { interval }) {
  const when = schedule === null ? `each tick, every ${duration(interval)}` : schedule;
  const zone = tz && tz !== "UTC" ? ` ${tz}` : tz ? " UTC" : "";
  return description ? `${when}${zone} · ${description}` : `${when}${zone}`;
}

function brief({ durations_ms: durations, outcomes }) {
  return inWords(durations, outcomes).replace(/^.*: median /, "median ").replace(/, longest.*/, "");
}
