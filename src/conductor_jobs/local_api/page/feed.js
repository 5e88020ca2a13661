// The stream of events, by fetch: EventSource can bear no token, and does not tell of the comments that show that a
// silent connection is alive. Connects again whenever it is lost, later with each time that it fails.

const FIRST_DELAY = 1000;
const LONGEST_DELAY = 15_000;
// Whatever is alive tells of each renewal. After so much silence the node is asked, and has so long to answer.
const SILENCE = 6000;
const PATIENCE = 4000;

/** The API said no: `code` and message are its own. */
export class Refusal extends Error {
  constructor(status, { error, message }) {
    super(message);
    this.status = status;
    this.code = error;
  }
}

/** Return the API's answer to GET. Raises Refusal, or what fetch raises. */
export async function read(path, token, patience = 20_000) {
  const response = await fetch(path, { headers: bearing(token), signal: AbortSignal.timeout(patience) });
  return await answerOf(response);
}

/** Return an answer's JSON, or raise what it refuses with. */
export async function answerOf(response) {
  const answer = await response.json().catch(() => ({ error: "unreadable", message: "the answer is not JSON." }));
  if (!response.ok || answer.error === "unreadable") throw new Refusal(response.status, answer);
  return answer;
}

/** The header that bears the token: its bytes in UTF-8, each as the letter that `fetch` sends for it. */
export const bearing = (token) =>
  token === null ? {} : { authorization: String.fromCharCode(...new TextEncoder().encode(`Bearer ${token}`)) };

export class Feed {
  #lastId = null;
  #heardAt = 0;
  #delay = FIRST_DELAY;
  #abort = new AbortController();
  #wake = () => {};
  #probing = false;

  /** `token()` returns the token or null; `on` has opened, event, status, lost and locked. */
  constructor(token, on) {
    this.token = token;
    this.on = on;
  }

  /** Listen for ever. */
  async run() {
    setInterval(() => this.#watchSilence(), 1000);
    addEventListener("online", () => this.retry());
    for (;;) {
      const why = await this.#listen().then(() => "the node ended the connection", (error) => error);
      this.#heardAt = 0;
      await this.#rest(why);
    }
  }

  /** Connect again at once. */
  retry() {
    this.#wake();
  }

  async #rest(why) {
    const delay = this.#delay * (0.8 + 0.4 * Math.random());
    const rested = new Promise((resolve) => (this.#wake = resolve));
    if (why instanceof Refusal && why.status === 401) {
      this.on.locked(why.message);
      await rested;
      return;
    }
    this.on.lost(words(why), Date.now() + delay);
    this.#delay = Math.min(2 * this.#delay, LONGEST_DELAY);
    await Promise.race([rested, new Promise((resolve) => setTimeout(resolve, delay))]);
  }

  async #listen() {
    this.#abort = new AbortController();
    const headers = { accept: "text/event-stream", ...bearing(this.token()) };
    if (this.#lastId !== null) headers["last-event-id"] = this.#lastId;
    const { signal } = this.#abort;
    try {
      const giveUp = setTimeout(() => this.#abort.abort("it does not answer"), PATIENCE);
      const response = await fetch("v1/events", { headers, signal }).finally(() => clearTimeout(giveUp));
      if (!response.ok) await answerOf(response);
      // What the events do not repeat is asked for now: they tell what changes while somebody listens.
      await this.on.opened(this.#lastId !== null);
      this.#heardAt = Date.now();
      this.#delay = FIRST_DELAY;
      await this.#read(response.body);
    } finally {
      this.#abort.abort();
    }
  }

  async #read(body) {
    const parser = new Parser((event) => this.#take(event));
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      this.#heardAt = Date.now();
      parser.push(decoder.decode(part.value, { stream: true }));
    }
  }

  #take({ id, kind, data }) {
    if (id !== null) this.#lastId = id;
    this.on.event(kind, JSON.parse(data));
  }

  async #watchSilence() {
    if (this.#heardAt === 0 || this.#probing || Date.now() - this.#heardAt < SILENCE) return;
    this.#probing = true;
    const heardAt = this.#heardAt;
    try {
      this.on.status(await read("v1/status", this.token(), PATIENCE));
      if (this.#heardAt !== 0) this.#heardAt = Date.now();
    } catch (error) {
      if (this.#heardAt === heardAt) this.#abort.abort(words(error));
    } finally {
      this.#probing = false;
    }
  }
}

/** Server-sent events, out of text that comes in pieces. */
class Parser {
  #rest = "";
  #fields = {};

  constructor(take) {
    this.take = take;
  }

  push(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop();
    for (const line of lines) this.#line(line);
  }

  #line(line) {
    if (line === "") {
      const { id = null, event = "message", data } = this.#fields;
      this.#fields = {};
      if (data !== undefined) this.take({ id, kind: event, data });
    } else {
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      this.#fields[name] = value;
    }
  }
}

function words(error) {
  if (typeof error === "string") return error;
  if (error instanceof Refusal) return error.message;
  return error.name === "TimeoutError" ? "it does not answer" : "nothing answers at its address";
}
