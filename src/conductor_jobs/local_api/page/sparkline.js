// How long the latest runs took, the oldest first. One that failed is hollow and has a mark above it.

import { svg } from "./dom.js";
import { duration } from "./times.js";

const STEP = 4;
const HEIGHT = 24;
const MARK = 5;
const MOST = 30;

export function sparkline({ durations_ms: durations, outcomes }) {
  const most = Math.max(1, ...durations);
  const drawing = svg("svg", {
    class: "spark", role: "img", "aria-label": inWords(durations, outcomes),
    viewBox: `0 0 ${MOST * STEP} ${HEIGHT}`, width: MOST * STEP, height: HEIGHT,
  });
  durations.forEach((each, index) => {
    const x = index * STEP;
    const tall = Math.max(2, (each / most) * (HEIGHT - MARK - 1));
    const kind = outcomes[index];
    drawing.append(svg("rect", { class: kind, x: x + 0.5, y: HEIGHT - tall - 0.5, width: STEP - 1.5, height: tall }));
    if (kind !== "completed") drawing.append(svg("rect", { class: `mark ${kind}`, x, y: 0, width: 3, height: 3 }));
  });
  return drawing;
}

/** Return the same in words. */
export function inWords(durations, outcomes) {
  if (!durations.length) return "no runs yet";
  const sorted = durations.toSorted((one, other) => one - other);
  const failed = outcomes.filter((outcome) => outcome !== "completed").length;
  const runs = durations.length === 1 ? "one run" : `the last ${durations.length} runs`;
  const text = `${runs}: median ${told(sorted[sorted.length >> 1])}, longest ${told(sorted.at(-1))}`;
  return failed ? `${text}, ${failed} not completed` : text;
}

const told = (ms) => duration(ms / 1000);
