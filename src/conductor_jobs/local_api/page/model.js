// What is known, and since when. Changed by answers and events of the API; read by the views.

const HOUR = 3_600_000;
const MOST_TICKS = 4000;
const MOST_ERRORS = 200;

export class Model {
  status = null;
  nodes = null;
  runners = new Map();
  ticks = new Map();
  errors = [];
  ticksSince = null;
  /** How the connection stands: connecting, live, lost or locked; since when; and why. */
  link = { kind: "connecting", since: Date.now(), why: "" };
  /** Milliseconds by which the node's clock is ahead of this browser's. */
  #ahead = 0;
  #statusAt = 0;
  #nodesAt = 0;

  get live() {
    return this.link.kind === "live";
  }

  /** The node's present moment, in milliseconds; it stands still while nothing is heard of the node. */
  get now() {
    return (this.live ? Date.now() : this.link.since) + this.#ahead;
  }

  takeStatus(status) {
    this.status = status;
    this.#statusAt = Date.now();
    this.#ahead = Date.parse(status.now) - this.#statusAt;
  }

  takeNodes(nodes) {
    this.nodes = nodes;
    this.#nodesAt = Date.now();
  }

  takeRunners(runners) {
    this.runners = new Map(runners.map((runner) => [runner.name, runner]));
  }

  takeTicks(many, latest) {
    const ticks = [...many.ticks.toReversed(), ...latest.ticks.toReversed()];
    this.ticks = new Map(ticks.map((tick) => [tick.batch_id, tick]));
    this.errors = latest.errors;
    this.ticksSince = Date.parse(many.since);
  }

  /** Take an event; returns whether everything is to be asked for anew, and whether the runners are. */
  takeEvent(kind, data) {
    if (kind === "status") this.takeStatus(data);
    else if (kind === "nodes") this.takeNodes(data);
    else if (kind === "tick") this.#takeTick(data);
    else if (kind === "runner") this.#takeRuns(data);
    else if (kind === "error") this.#takeError(data);
    return { all: kind === "reset", runners: kind === "runners" };
  }

  #takeTick(tick) {
    this.ticks.set(tick.batch_id, tick);
    // The oldest first: what is older than an hour, or too many, is forgotten from that end.
    for (const [id, { started_at, ended_at }] of this.ticks) {
      const old = Date.parse(ended_at ?? started_at) < this.now - HOUR - 60_000;
      if (!old && this.ticks.size <= 4 * MOST_TICKS) break;
      this.ticks.delete(id);
    }
  }

  #takeRuns(runs) {
    const runner = this.runners.get(runs.name);
    if (runner) this.runners.set(runs.name, { ...runner, runs, at_work: runs.at_work_since !== null });
  }

  #takeError(error) {
    const key = (each) => JSON.stringify([each.ts, each.batch_id, each.runner, each.stage]);
    if (this.errors.some((each) => key(each) === key(error))) return;
    this.errors = [error, ...this.errors].slice(0, MOST_ERRORS);
  }

  /** Seconds since the status was told. */
  get statusAge() {
    return ((this.live ? Date.now() : this.link.since) - this.#statusAt) / 1000;
  }

  /** Seconds since the answer about the nodes. */
  get nodesAge() {
    return ((this.live ? Date.now() : this.link.since) - this.#nodesAt) / 1000;
  }

  /** Who leads and for how many seconds more, as far as this node knows; null before the store has answered. */
  lease() {
    const { status } = this;
    if (!status) return null;
    if (status.leadership === "leader" && status.lease_remaining !== null) {
      const remaining = status.lease_remaining - this.statusAge;
      return { holder: status.node.node_id, ours: true, term: status.term, remaining };
    }
    if (!status.lease) return null;
    const { holder_id: holder, term, held, expires_in, asked_ago } = status.lease;
    const remaining = held ? expires_in - asked_ago - this.statusAge : 0;
    return { holder, ours: false, term, remaining, askedAgo: asked_ago + this.statusAge };
  }

  /** What became of a runner last: `kind` is an outcome, "unknown", or "none". */
  last(runner) {
    const { last_claim: claim, runs: { last_run: run } } = runner;
    const claimIsLater = claim && (!run || Date.parse(claim.due_at) > Date.parse(run.ended_at));
    if (claimIsLater && ["completed", "failed", "unknown"].includes(claim.result)) {
      return { kind: claim.result, claim };
    }
    return run ? { kind: run.outcome, run } : { kind: "none" };
  }

  /** What the store fails with, by whichever question was asked last, or null. */
  get storeProblem() {
    return this.status.problem ?? this.status.lease_problem;
  }

  /** Whether a runner is at work, and not for a moment only: what comes and goes at once cannot be read. */
  isAtWork({ at_work: atWork, runs: { at_work_since: since } }) {
    return atWork && (since === null || this.now - Date.parse(since) > 700);
  }

  /** Whether somebody had better look at a runner. */
  isFailing(runner) {
    return ["failed", "unknown"].includes(this.last(runner).kind);
  }
}
