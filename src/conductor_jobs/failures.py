"""What an exception means: in words, and which part of it is a failure and which must go on."""


def shown(value: object) -> str:
    """Return a value as an error's sentence shows it: its repr, or its type's name where even that fails."""
    try:
        return str.__str__(repr(value))
    except Exception:  # noqa: BLE001 - a user's __repr__ may do anything, and that of 10**5000 is an error
        return f"<{type(value).__name__}>"


def error_text(error: BaseException) -> str:
    """Return what went wrong, in words: the exception's own, or its type's name where it has none.

    An exception group is taken apart, since its own text names a count and no cause.
    """
    try:
        if isinstance(error, BaseExceptionGroup):
            causes = "; ".join(error_text(each) for each in error.exceptions)
            return f"{error.message}: {causes}"
        return str.__str__(str(error)) or type(error).__name__
    except Exception:  # noqa: BLE001 - a user's __str__ may do anything, and the entry must not be lost
        return type(error).__name__


def split_failure(error: BaseException) -> tuple[Exception | None, BaseException | None]:
    """Part what is a failure from what must go on: cancellations, interrupts, exits (I15)."""
    if isinstance(error, Exception):
        return error, None
    if isinstance(error, BaseExceptionGroup):
        try:
            return error.split(Exception)
        except Exception:  # noqa: BLE001 - a group that cannot be parted must go on, for what it may hold
            return None, error
    return None, error


def sole_exception(error: BaseException) -> BaseException:
    """Return the only exception in groups of one, as nurseries wrap it, or the group that holds several."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
