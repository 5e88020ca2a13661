"""Who bears the token."""

import hmac
from collections.abc import Sequence


def bears(authorizations: Sequence[str], token: bytes) -> bool:
    """Return whether the Authorization headers of a request, read as latin-1, are one that bears the token."""
    scheme, _, credentials = (authorizations[0] if len(authorizations) == 1 else "").partition(" ")
    # Compared in constant time; Starlette reads headers as latin-1, whatever they are.
    same = hmac.compare_digest(credentials.strip(" ").encode("latin-1"), token)
    return same and scheme.lower() == "bearer"
