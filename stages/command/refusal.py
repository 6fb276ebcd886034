"""Errors for people: one sentence and an exit code. Runs on Python 3.7 too."""

import errno

# EX_TEMPFAIL of sysexits.h.
RETRYABLE = 75
# What the system says when there is no room: on the disk, in a quota, for a file.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What it says of a disk that fails, and of a mount whose server does not answer or whose process has gone.
UNREACHED = (errno.EIO, errno.ENOTCONN, errno.ESTALE, errno.ETIMEDOUT)


class Refusal(Exception):
    """An error for a person: what is wrong, where, and what to do about it. Exit code 2, no traceback."""

    code = 2


class Retryable(Refusal):
    """A refusal for which the command is right: once its cause is gone, the same command resumes. Exit code 75."""

    code = RETRYABLE


def unwritable(place: str, error: OSError) -> Refusal:
    """The refusal for a folder or file that cannot be written: retryable for lack of room, or of an answer."""
    if error.errno in NO_ROOM:
        return Retryable("cannot write to %s: %s; make room, then the same command resumes" % (place, error.strerror))
    if error.errno in UNREACHED:
        remedy = "once the disk or the mount answers, the same command resumes"
        return Retryable("cannot write to %s: %s; %s" % (place, error.strerror, remedy))
    return Refusal("cannot write to %s: %s" % (place, error.strerror))
