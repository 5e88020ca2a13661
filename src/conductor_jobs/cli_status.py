"""The command `conductor-jobs status`: what it takes, prints and returns."""

import sys
from typing import Any, Final, final

import click
import msgspec

from .local_api_client import LocalAPIClient, Refused, Unreachable
from .printing import printed, reader_may_leave, wants_colour
from .rules import HTTP_URL, LINE, Rule
from .status_report import NodeStatus, RunnerAnswers, problems_of, report_lines
from .stderr import tell

FINE, IN_TROUBLE, UNREACHABLE = 0, 1, 3
DEFAULT_URL: Final = "http://127.0.0.1:4317"


@final
class StatusDocument(msgspec.Struct, frozen=True):
    """What `status --json` prints: `healthy`, what is wrong if it is not, and the local API's two answers as they are.

    `status` and `runners` are None when there is no answer.
    """

    healthy: bool
    problems: list[str]
    status: msgspec.Raw | None = None
    runners: msgspec.Raw | None = None


def _obeying(rule: Rule) -> Any:
    def parsed(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
        if text is None:
            return None
        value: str | None = rule.parse(text)
        if value is None:
            raise click.BadParameter(f"must be {rule.words}.")
        return value

    return parsed


@click.command("status")
@click.option(
    "--local-api",
    "url",
    metavar=HTTP_URL.metavar,
    default=DEFAULT_URL,
    envvar="BAA_CONDUCTOR_LOCAL_API",
    callback=_obeying(HTTP_URL),
    help=f"where the node's local API is  [BAA_CONDUCTOR_LOCAL_API; {DEFAULT_URL}]",
)
@click.option(
    "--local-api-token",
    "token",
    metavar=LINE.metavar,
    envvar="BAA_CONDUCTOR_LOCAL_API_TOKEN",
    callback=_obeying(LINE),
    help="needed beyond this machine; better as the variable  [BAA_CONDUCTOR_LOCAL_API_TOKEN]",
)
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
def status_command(url: str, token: str | None, as_json: bool) -> int:
    """Ask a running node how it stands: who leads, for how long, what ran and what is due.

    It asks the local API of `start --local-api`. Exit code 0: the node is ready, and its store answers; 1: it is not
    ready, or degraded, or its store fails, or work of it has outlived its lease; 2: bad input; 3: no answer. That a
    runner has failed is told, and is no fault of the node.
    """
    try:
        return _report(LocalAPIClient(url, token), as_json=as_json)
    except (Unreachable, Refused) as error:
        if as_json:
            _print([msgspec.json.encode(StatusDocument(False, [str(error)])).decode()])
        else:
            tell(f"conductor-jobs: local API {error}")
        return UNREACHABLE


def _report(client: LocalAPIClient, *, as_json: bool) -> int:
    unready = client.why_unready()
    status, runners = client.get("/v1/status"), client.get("/v1/runners")
    node = client.decoded(status, NodeStatus)
    answers = client.decoded(runners, RunnerAnswers)
    problems = problems_of(node, unready)
    if as_json:
        document = StatusDocument(not problems, problems, msgspec.Raw(status), msgspec.Raw(runners))
        _print([msgspec.json.encode(document).decode()])
    else:
        _print(list(report_lines(node, answers, problems)))
    return IN_TROUBLE if problems else FINE


def _print(lines: list[str]) -> None:
    with reader_may_leave():
        if sys.stdout is not None:
            coloured = wants_colour(sys.stdout)
            sys.stdout.buffer.writelines(printed(line, coloured=coloured) for line in lines)
