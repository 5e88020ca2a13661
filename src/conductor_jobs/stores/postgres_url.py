"""What the URL of a PostgreSQL database says, and what of it may be shown."""

from dataclasses import dataclass
from typing import Any, Final, final

import psycopg
from psycopg.conninfo import conninfo_to_dict

from .urls import require_text

_RULE: Final = "must be `postgresql://USER:PASSWORD@HOST:PORT/DATABASE`, percent-encoded"


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a database is; equal for one database, as far as their URLs tell, whoever logs in."""

    host: str
    port: str
    database: str

    @staticmethod
    def of(parameters: dict[str, Any]) -> "Place":
        """Return where libpq's parameters lead."""
        host = parameters.get("host") or parameters.get("hostaddr") or ""
        return Place(host, parameters.get("port", "5432"), parameters.get("dbname") or parameters.get("user", ""))

    def __str__(self) -> str:
        """Return a URL without who logs in, and how."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"postgresql://{host}:{self.port}/{self.database}"


def parsed(url: str) -> dict[str, Any]:
    """Return libpq's parameters. Raises ValueError, which does not repeat what may hold a password."""
    require_text("PostgresLeaseStore url", url, "a text like postgresql://USER:PASSWORD@HOST:PORT/DATABASE")
    if not url.startswith(("postgresql://", "postgres://")) or "\0" in url:
        raise ValueError(f"PostgresLeaseStore url {_RULE}.")
    try:
        parameters: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ValueError(f"PostgresLeaseStore url {_RULE}, with parameters after a `?` that libpq knows.") from None
    # libpq would find fault with it at every login, and repeat it: it may be part of a password with a colon in it.
    if any(not port.isdecimal() for port in parameters.get("port", "5432").split(",")):
        raise ValueError(f"PostgresLeaseStore url {_RULE}, and PORT must be a number.")
    return parameters
