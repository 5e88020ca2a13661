"""The table of settings, from which flags, variables, `config` output, usage text and the settings page are made."""

from typing import Any, Final, final

import msgspec

from .rules import HTTP_URL, INTEGER, LINE, LISTEN_URL, NON_NEGATIVE, PATH, POSITIVE, ROLE, STORE_URL, Rule

NOT_CONFIGURED: Final = "not-configured"


@final
class Setting(msgspec.Struct, frozen=True):
    """One row of the table. `label` is what messages call it; `otherwise` tells a default that is worked out."""

    name: str
    label: str
    rule: Rule
    help: str
    variable: str | None = None
    default: Any = None
    otherwise: str | None = None
    secret: bool = False

    @property
    def flag(self) -> str:
        """The flag of the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def default_words(self) -> str:
        """The default as usage text and the settings page show it."""
        return self.otherwise or (NOT_CONFIGURED if self.default is None else str(self.default))


SETTINGS: Final = (
    Setting("node_id", "node id", LINE, "who this process is", "BAA_NODE_ID", otherwise="<host>-<pid>"),
    Setting(
        "host", "host", LINE, "the name of this machine, as status and journal show it", "BAA_CONDUCTOR_HOST",
        otherwise="the machine's name",
    ),
    Setting("role", "role", ROLE, "a standby lets a primary go first", "BAA_CONDUCTOR_ROLE", "primary"),
    Setting(
        "priority", "priority", INTEGER, "below 100 it lets others go first after an expiry",
        otherwise="100 for a primary, 50 for a standby",
    ),
    Setting(
        "public_api_base", "public API base", HTTP_URL, "where the control API is; with a token it is the store",
        "BAA_CONDUCTOR_PUBLIC_API_BASE",
    ),
    Setting(
        "store", "store", STORE_URL, "where the lease is kept",
        otherwise="the public API base, or the file conductor.db in the state dir",
    ),
    Setting(
        "lease_name", "lease name", LINE, "of which lease; each one in a store has a leader of its own",
        "BAA_CONDUCTOR_LEASE_NAME", "conductor",
    ),
    Setting(
        "lease_renew_interval_ms", "lease renew interval", POSITIVE, "from one renewal to the next",
        "BAA_CONDUCTOR_LEASE_RENEW_INTERVAL_MS", otherwise="5000, or a sixth of the ttl if that is less",
    ),
    Setting(
        "lease_ttl_sec", "lease ttl", POSITIVE, "how long the store honours a lease without renewal",
        "BAA_CONDUCTOR_LEASE_TTL_SEC", 30,
    ),
    Setting(
        "renew_failure_threshold", "renew failure threshold", POSITIVE,
        "failed store calls in a row that count as degraded", "BAA_CONDUCTOR_RENEW_FAILURE_THRESHOLD", 2,
    ),
    Setting(
        "timed_jobs_interval_ms", "timed jobs interval", POSITIVE, "from one tick to the next",
        "BAA_TIMED_JOBS_INTERVAL_MS", 10_000,
    ),
    Setting(
        "timed_jobs_max_messages_per_tick", "timed jobs max messages per tick", POSITIVE,
        "handed to each runner; not enforced", "BAA_TIMED_JOBS_MAX_MESSAGES_PER_TICK", 10,
    ),
    Setting(
        "timed_jobs_max_tasks_per_tick", "timed jobs max tasks per tick", POSITIVE,
        "handed to each runner; not enforced", "BAA_TIMED_JOBS_MAX_TASKS_PER_TICK", 10,
    ),
    Setting(
        "timed_jobs_settle_delay_ms", "timed jobs settle delay", NON_NEGATIVE,
        "handed to each runner; not enforced", "BAA_TIMED_JOBS_SETTLE_DELAY_MS", 10_000,
    ),
    Setting(
        "shared_token", "shared token", LINE,
        "the control API's token; better as the variable, for others can read flags", "BAA_SHARED_TOKEN", secret=True,
    ),
    Setting("runs_dir", "runs dir", PATH, "noted, and shown by `config`", "BAA_RUNS_DIR"),
    Setting("worktrees_dir", "worktrees dir", PATH, "noted, and shown by `config`", "BAA_WORKTREES_DIR"),
    Setting("logs_dir", "logs dir", PATH, "the journal is in `timed-jobs` below it", "BAA_LOGS_DIR", ".conductor/logs"),
    Setting("state_dir", "state dir", PATH, "for the lease's database", "BAA_STATE_DIR", ".conductor/state"),
    Setting("tmp_dir", "tmp dir", PATH, "noted, and shown by `config`", "BAA_TMP_DIR"),
    Setting(
        "local_api", "local API", LISTEN_URL, "where to serve status, metrics and commands; port 0 takes a free one",
        "BAA_CONDUCTOR_LOCAL_API",
    ),
    Setting(
        "local_api_token", "local API token", LINE,
        "what whoever gives commands there must bear, and beyond loopback whoever reads; better as the variable",
        "BAA_CONDUCTOR_LOCAL_API_TOKEN", secret=True,
    ),
    Setting(
        "retention_days", "retention days", POSITIVE, "journal files of more days ago are deleted, never today's",
        "BAA_CONDUCTOR_RETENTION_DAYS", otherwise="all are kept",
    ),
    Setting(
        "drain_timeout_sec", "drain timeout", NON_NEGATIVE, "for how long a stop waits for the work in flight",
        "BAA_CONDUCTOR_DRAIN_TIMEOUT_SEC", 20,
    ),
)  # fmt: skip
