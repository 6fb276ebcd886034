"""The ends of a command as exit codes, where no stage's own test can bring them about."""

import signal

import pytest

from stages.command.running import run


def interrupted(arguments: list[str]) -> None:
    """A function of a C library that is interrupted: CPython raises SystemError from the interrupt."""
    try:
        raise KeyboardInterrupt(signal.SIGTERM)
    except KeyboardInterrupt as interrupt:
        raise SystemError("<built-in function> returned a result with an error set") from interrupt


def failed(arguments: list[str]) -> None:
    raise SystemError("a fault of the library itself")


def test_an_interrupt_inside_a_c_library_is_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert run("stage", interrupted, []) == 143
        assert capsys.readouterr().err == "stage: interrupted; the same command resumes\n"
        with pytest.raises(SystemError, match="itself"):
            run("stage", failed, [])
    finally:
        signal.signal(signal.SIGTERM, handler)
