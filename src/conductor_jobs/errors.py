"""The exceptions that callers of conductor-jobs may want to catch; bad arguments are plain ValueErrors."""


class ConductorStopped(Exception):
    """The conductor's `run` ended before what was waited for came about."""


class LeaseLost(Exception):
    """The term under which leader's work ran is over: stop, the next leader may be at work already."""


class StaleTerm(Exception):
    """A write was refused, because it carried an older term than the lease has reached."""


class Unusable(Exception):
    """What was given can never work, however often it is tried: a database file that is none, for instance.

    A lease store raises it instead of an ordinary error when only a person can mend the cause. Raised before
    the first answer of the store, it ends `Conductor.run`; later it counts as a store that cannot be reached.
    """
