"""How much Hypothesis tries: a little, always the same, in the suite; thousands of new things on demand.

The thorough way:
`python -m pytest tests/test_bad_*.py tests/test_lease_rules.py --hypothesis-profile=thousand --timeout=0`.
"""

import signal

from hypothesis import HealthCheck, settings

from .real_servers.etcd import etcd_server, etcd_url  # noqa: F401 - fixtures
from .real_servers.postgres import postgres_server, postgres_url  # noqa: F401 - fixtures

# What a shell runs in the background ignores SIGINT, and so would every process that a test starts and interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Whether a machine is slow says nothing of a test: no deadlines.
_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "suite", max_examples=100, derandomize=True, deadline=None, suppress_health_check=_QUIET, database=None
)
settings.register_profile("thousand", max_examples=5000, deadline=None, suppress_health_check=_QUIET, print_blob=True)
settings.load_profile("suite")
