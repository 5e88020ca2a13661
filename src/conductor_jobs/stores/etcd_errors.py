"""Answers of etcd and what stands in their place: its refusals, somebody else's answers, a broken connection."""

from .etcd_api import Answer, Refusal, decoded


class EtcdError(Exception):
    """Etcd could not be asked, or refused; its text is for a user."""


class EtcdRefusal(EtcdError):
    """Etcd answered with an error, and did nothing of what it was asked."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code: int = code


def answer_of(content: bytes | str, kind: type[Answer], member: str, status: int = 200) -> Answer:
    """Return what a member has answered. Raises EtcdRefusal for an error, EtcdError for what is not etcd's."""
    try:
        if status == 200:
            return decoded(content, kind)
    except ValueError:
        pass  # a stream says by its content that it has failed
    reason, code = _reason(content)
    if not reason:
        raise EtcdError(f"what answers at {member} is not etcd's JSON API (HTTP status {status})")
    raise EtcdRefusal(f"etcd at {member} refused: {reason.removeprefix('etcdserver: ')}", code)


def _reason(content: bytes | str) -> tuple[str, int]:
    try:
        return decoded(content, Refusal).reason()
    except ValueError:
        return "", 0


def because(error: BaseException) -> str:
    """Return the reason of an error as the end of a sentence, if any is known."""
    # What TLS has against a certificate is the text of a cause; the errors above it have none.
    while not str(error) and (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f": {error}" if str(error) else ""
