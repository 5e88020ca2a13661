// Commands: what is asked for with the token, and what became of it, in words.

import { by, say } from "./dom.js";
import { Refusal, answerOf, bearing } from "./feed.js";
import { duration } from "./times.js";

const KEPT_AS = "conductor-jobs token";
// Seconds for which a run's end is waited for; the page hears of it later by an event.
const WAIT = 10;
const BECAME = { pause: "is paused on every node", resume: "is resumed" };

/** The token, kept by this tab only. */
export const token = () => sessionStorage.getItem(KEPT_AS);

export class Commands {
  /** What is being asked for: "NAME ACTION", until there is an answer. */
  busy = new Set();

  /** `changed()` is called when the busy ones or the token have changed, `tokenChanged()` for the token besides. */
  constructor(model, changed, tokenChanged) {
    this.model = model;
    this.changed = changed;
    this.tokenChanged = tokenChanged;
    this.#start();
  }

  /** Run, pause or resume a runner. */
  async ofRunner(name, action) {
    if (action === "run" && !this.#leads(`Run of ${name}`)) return;
    const path = `v1/runners/${encodeURIComponent(name)}/${action}${action === "run" ? `?wait=${WAIT}` : ""}`;
    await this.#command(`${name} ${action}`, action === "run" ? `Run of ${name}` : `${name}`, path,
      (answer) => (action === "run" ? becameOf(answer) : BECAME[action]));
  }

  async runTick() {
    if (!this.#leads("Tick")) return;
    await this.#command("tick", "Tick", `v1/ticks?wait=${WAIT}`, becameOf);
  }

  async resign() {
    if (!this.#leads("Resign")) return;
    const dialog = by("resign-dialog");
    say(by("resign-why"), `${this.model.status.node.node_id} brings what is at work to its end and gives the lease back. ` +
      "Another node leads then; with no other node alive, this one will again.");
    if (await answered(dialog)) {
      await this.#command("resign", "Resign", "v1/resign", () => "the lease was given back");
    }
  }

  /** Ask for the token; returns whether there is one. */
  async askForToken(why) {
    const dialog = by("token-dialog");
    if (dialog.open) return false;
    by("token-field").value = "";
    say(by("token-why"), why);
    by("token-forget").hidden = token() === null;
    const given = (await answered(dialog)) ? by("token-field").value.trim() : "";
    by("token-field").value = "";
    if (given === "") return false;
    sessionStorage.setItem(KEPT_AS, given);
    this.tokenChanged();
    return true;
  }

  #start() {
    by("tick-now").addEventListener("click", () => this.runTick());
    by("resign").addEventListener("click", () => this.resign());
    by("token").addEventListener("click", () => this.askForToken(this.#whyToken()));
    by("outcome-close").addEventListener("click", () => (by("outcome").hidden = true));
    for (const [button, dialog] of [["token-cancel", "token-dialog"], ["resign-cancel", "resign-dialog"]]) {
      by(button).addEventListener("click", () => by(dialog).close());
    }
    by("token-forget").addEventListener("click", () => {
      sessionStorage.removeItem(KEPT_AS);
      by("token-dialog").close();
      this.tokenChanged();
    });
  }

  #leads(what) {
    const { status } = this.model;
    if (status?.leadership === "leader") return true;
    const leader = this.model.lease()?.holder;
    this.#tell(`${what}: refused: this node does not lead${leader ? `: ask ${leader}, by its own page` : ""}.`);
    return false;
  }

  #whyToken() {
    if (this.model.status?.writable === false) return "This node has no token configured, so that commands are off.";
    return token() === null ? "Commands need the token." : "A token is kept; another one takes its place.";
  }

  async #command(id, what, path, became) {
    if (this.busy.has(id)) return;
    if (!this.model.live) {
      this.#tell(`${what}: not asked for: the connection is lost.`);
      return;
    }
    const writable = this.model.status?.writable;
    if (writable && token() === null && !(await this.askForToken(`${what}: this needs the token.`))) {
      this.#tell(`${what}: refused: commands need the token.`);
      return;
    }
    this.busy.add(id);
    this.#tell(`${what}: asked for…`);
    this.changed();
    try {
      this.#tell(`${what}: ${became(await post(path))}.`);
    } catch (error) {
      this.#refused(what, error);
    } finally {
      this.busy.delete(id);
      this.changed();
    }
  }

  #refused(what, error) {
    const told = error instanceof Refusal ? `refused: ${error.message}` : `no answer: ${error.message}. It may have been done.`;
    this.#tell(`${what}: ${told}`);
    if (error.status === 401) {
      sessionStorage.removeItem(KEPT_AS);
      this.tokenChanged();
    }
  }

  #tell(text) {
    by("outcome").hidden = false;
    say(by("outcome-text"), text);
  }
}

async function post(path) {
  const signal = AbortSignal.timeout((WAIT + 20) * 1000);
  return await answerOf(await fetch(path, { method: "POST", headers: bearing(token()), signal }));
}

function becameOf({ ended, tick }) {
  if (!ended) return `still at work after ${duration(WAIT)}; its end will be shown`;
  const { runner_count: count, failed_runner_count: failed } = tick;
  if (failed) return count === 1 ? "ended, and failed: see Errors" : `ended, ${failed} of ${count} runners failed: see Errors`;
  return count === 1 ? "completed" : `completed, ${count} runners`;
}

/** Show a dialog; returns whether it was submitted. */
function answered(dialog) {
  return new Promise((resolve) => {
    let submitted = false;
    const ended = new AbortController();
    const { signal } = ended;
    dialog.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      submitted = true;
      dialog.close();
    }, { signal });
    dialog.addEventListener("close", () => {
      ended.abort();
      resolve(submitted);
    }, { signal });
    dialog.showModal();
  });
}
