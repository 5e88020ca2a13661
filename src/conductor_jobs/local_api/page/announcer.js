// What a screen reader is told unasked: who leads, how the connection and the runners stand, and only when that changes.

import { by, say } from "./dom.js";
import { leaderSentence, stateOf } from "./lead.js";

const AT_MOST_EVERY = 3000;

let told = null;
let toldAt = 0;

export function announce(model) {
  const { status } = model;
  if (!status || Date.now() - toldAt < AT_MOST_EVERY) return;
  const failing = [...model.runners.values()].filter((runner) => model.isFailing(runner)).map((runner) => runner.name);
  const now = {
    link: model.live ? "connected" : null, // of a lost one the banner tells, which is an alert
    leader: model.live ? leaderSentence(model) : null,
    node: model.live ? `this node ${stateOf(model)}` : null,
    failing: failing.length ? `failing: ${failing.slice(0, 3).join(", ")}${failing.length > 3 ? " and more" : ""}` : "no runner fails",
  };
  const before = told;
  told = { ...before, ...Object.fromEntries(Object.entries(now).filter(([, text]) => text !== null)) };
  told.link = now.link;
  if (before === null) return;
  const news = Object.keys(now).filter((key) => now[key] !== null && now[key] !== before[key]).map((key) => now[key]);
  if (!news.length) return;
  toldAt = Date.now();
  say(by("announcer"), `${news.join(". ")}.`);
}
