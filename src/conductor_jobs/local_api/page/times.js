// Moments and durations in words: of this browser's zone, or UTC.

let inUTC = false;

export function showUTC(wanted) {
  inUTC = wanted;
}

/** Return a duration for people, of seconds: "340 ms", "4.2 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
export function duration(seconds) {
  if (seconds < 0.9995) return `${Math.max(0, Math.round(seconds * 1000))} ms`;
  if (seconds < 9.95) return `${Number(seconds.toFixed(1))} s`;
  return span(seconds);
}

/** Return a duration in whole seconds and more: "0 s", "12 s", "3 min 20 s". */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return two(whole, 60, "min", 1, "s");
  if (whole < 86400) return two(whole, 3600, "h", 60, "min");
  return two(whole, 86400, "d", 3600, "h");
}

function two(whole, large, largeName, small, smallName) {
  const rest = Math.floor((whole % large) / small);
  return `${Math.floor(whole / large)} ${largeName}${rest ? ` ${rest} ${smallName}` : ""}`;
}

const FORMATS = new Map();

function format(moment, options) {
  const key = JSON.stringify([options, inUTC]);
  if (!FORMATS.has(key)) {
    const zone = inUTC ? { timeZone: "UTC" } : {};
    FORMATS.set(key, new Intl.DateTimeFormat("en-GB", { ...options, ...zone, hourCycle: "h23" }));
  }
  return FORMATS.get(key).format(moment);
}

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit" };
const MINUTE = { hour: "2-digit", minute: "2-digit" };
const DAY = { day: "numeric", month: "short" };

/** Return the time of the day of a moment in milliseconds; of another day than that of `now` the day, to the minute. */
export function clock(moment, now) {
  const day = format(moment, DAY);
  return day === format(now, DAY) ? format(moment, CLOCK) : `${day}, ${minuteOfDay(moment)}`;
}

export const minuteOfDay = (moment) => format(moment, MINUTE);

/** Return the moment in UTC to the second, for tooltips. */
export const utc = (moment) => `${new Date(moment).toISOString().slice(0, 19).replace("T", " ")} UTC`;

/** Return how far a moment is from now: "in 4 min", "12 s ago", "now". */
export function distance(moment, now) {
  const seconds = (moment - now) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `in ${span(seconds)}` : `${span(-seconds)} ago`;
}
