"""Errors for the user: one sentence and an exit code. Python 3.7 or later."""

import errno

# EX_TEMPFAIL of sysexits.h.
RETRYABLE = 75
# No room: on the disk, in a quota, for a file.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# A failing disk, or a mount whose server does not answer or whose process has ended.
UNREACHED = (errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT)


class Refusal(Exception):
    """An error for the user: what is wrong, where, and what to do. Exit code 2, no traceback."""

    code = 2


class Retryable(Refusal):
    """A temporary error: once its cause is gone, the same command resumes. Exit code 75."""

    code = RETRYABLE


def unwritable(place: str, error: OSError) -> Refusal:
    """The refusal for a path that cannot be written: Retryable if room or an answer is missing."""
    if error.errno in NO_ROOM:
        return Retryable("cannot write to %s: %s; make room, then the same command resumes" % (place, error.strerror))
    if error.errno in UNREACHED:
        remedy = "once the disk or the mount answers, the same command resumes"
        return Retryable("cannot write to %s: %s; %s" % (place, error.strerror, remedy))
    return Refusal("cannot write to %s: %s" % (place, error.strerror))
