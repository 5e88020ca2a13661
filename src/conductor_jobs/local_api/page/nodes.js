// The nodes, by their last heartbeats, and the latest errors.

import { by, h, put, say, set } from "./dom.js";
import { clock, distance, utc } from "./times.js";

const FEW_ERRORS = 8;
const LONG = 240;

export function showNodes(model) {
  const { nodes: answer, status } = model;
  if (!answer || !status) return;
  const nodes = answer.nodes ?? [];
  by("nodes").hidden = nodes.length === 0;
  by("no-nodes").hidden = nodes.length !== 0;
  say(by("no-nodes"), answer.problem ?? "The store keeps no heartbeats.");
  const alive = `${nodes.filter((node) => node.alive).length} of ${answer.node_count} alive`;
  say(by("node-count"), nodes.length ? (isTold(model) ? alive : "as the store told last, which fails now") : "");
  // The leader first, then by name: in the order of their heartbeats they would change places all the time.
  const rank = (node) => (!node.alive ? 2 : node.state === "leader" ? 0 : 1);
  const sorted = nodes.toSorted((one, other) => rank(one) - rank(other) || (one.node_id < other.node_id ? -1 : 1));
  const rows = sorted.map((node) => ({ node, cells: cellsOf(model, node) }));
  const body = by("nodes").tBodies[0];
  put(body, JSON.stringify(rows.map(({ cells: { seen: _, ...rest } }) => rest)), () => rows.map(rowOf));
  rows.forEach(({ cells }, index) => say(body.rows[index].querySelector("time"), cells.seen));
}

/** Whether the store tells of the nodes: of heartbeats that it does not tell nobody knows whether there were any. */
const isTold = ({ nodes, storeProblem }) => nodes.problem === null && storeProblem === null;

function cellsOf(model, node) {
  const { status, now, live } = model;
  const here = node.node_id === status.node.node_id;
  const seen = now - (node.seen_ago + model.nodesAge) * 1000;
  const drifts = !node.same_runners && node.state !== "stopped";
  return {
    id: node.node_id,
    about: [here ? "this page" : "", node.host, node.role, node.version === status.node.version ? "" : node.version]
      .filter(Boolean).join(" · "),
    state: node.alive || node.state === "stopped" ? node.state : `${isTold(model) ? "silent, " : ""}was ${node.state}`,
    drift: drifts ? "other runners registered" : "",
    kind: node.alive ? node.state : isTold(model) ? "gone" : "stopped",
    // What changes each second is not in what the row is made anew for.
    seen: live ? distance(seen, now) : clock(seen, now),
    at: Math.round(seen / 1000) * 1000,
  };
}

function rowOf({ cells }) {
  const state = h("td", { role: "cell", "data-label": "State" }, h("span", { class: `state ${cells.kind}` }, cells.state));
  if (cells.drift) state.append(h("span", { class: "drift" }, cells.drift));
  return h("tr", { role: "row" },
    h("th", { role: "rowheader", scope: "row" }, h("span", { class: "name" }, cells.id),
      h("span", { class: "quiet" }, cells.about)),
    state,
    h("td", { role: "cell", "data-label": "Last heartbeat" },
      h("time", { datetime: new Date(cells.at).toISOString(), title: utc(cells.at) }, cells.seen)));
}

let allErrors = false;

export function toggleErrors() {
  allErrors = !allErrors;
}

export function showErrors({ errors, now, status }) {
  const groups = grouped(errors);
  by("no-errors").hidden = groups.length !== 0;
  const elsewhere = status?.leadership === "standby" ? " What fails on the leader is told by its own page." : "";
  say(by("no-errors"), `None on this node since its local API began.${elsewhere}`);
  say(by("error-count"), errors.length ? String(errors.length) : "");
  const more = by("more-errors");
  more.hidden = groups.length <= FEW_ERRORS;
  say(more, allErrors ? "Show fewer" : `Show all ${groups.length}`);
  set(more, "aria-expanded", String(allErrors));
  const shown = allErrors ? groups : groups.slice(0, FEW_ERRORS);
  const key = JSON.stringify([shown.map(({ error, times }) => [error.ts, error.runner, times]), clock(0, now)]);
  put(by("errors"), key, () => shown.map((group) => itemOf(group, now)));
}

/** The same error again and again is one, with how often. */
function grouped(errors) {
  const groups = [];
  for (const error of errors) {
    const last = groups.at(-1);
    if (last && last.error.runner === error.runner && last.error.stage === error.stage &&
        last.error.error === error.error) {
      last.times += 1;
    } else groups.push({ error, times: 1 });
  }
  return groups;
}

function itemOf({ error: { ts, runner, stage, error }, times }, now) {
  const at = Date.parse(ts);
  const head = h("p", { class: "head" }, h("strong", { class: "name" }, whoOf(runner)), " ",
    h("span", { class: "quiet" }, stage.replaceAll("_", " "), times > 1 ? `, ${times} times, the last ` : " ",
      h("time", { datetime: ts, title: utc(at) }, clock(at, now))));
  if (error.length <= LONG) return h("li", {}, head, h("p", { class: "error" }, error));
  const rest = h("details", {}, h("summary", {}, `${error.slice(0, LONG)}…`), h("p", { class: "error" }, error));
  return h("li", {}, head, rest);
}

const whoOf = (runner) => ({ "timed-jobs.framework": "the ticks", "timed-jobs.lease": "the lease" })[runner] ?? runner;
