"""Every failure that a user can meet: one sentence that says what happened, and a hint.

Errors are raised where they are known and printed once, in `harness.cli`, which also turns
their `exit_code` into the process's status.
"""

from __future__ import annotations

_LONGEST = 4000


def _shortened(text: str) -> str:
    """A sentence may quote what somebody wrote, which may be of any length: its middle goes."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


class HarnessError(Exception):
    """What happened, to what (`message`), and what to do next (`hint`).

    `at_launch` is set where it kept an instance from becoming ready.
    """

    exit_code = 1
    at_launch = False

    def __init__(self, message: str, hint: str = "") -> None:
        message, hint = _shortened(message), _shortened(hint)
        super().__init__(message)
        self.message = message
        self.hint = hint

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in a notebook: the sentence and the hint, as in a terminal."""
        return [self.message, *([f"  hint: {self.hint}"] if self.hint else [])]


class UsageError(HarnessError):
    """The command line, a scenario or a path given by the user cannot be used."""

    exit_code = 2


class DoesNotFit(UsageError):
    """Parameters of a runtime that are each allowed and exclude each other."""


class ScenarioError(UsageError):
    """A scenario file is not valid; the message names the place of the fault."""


def brief(error: Exception, most: int = 200) -> str:
    """What another library says of an error, as part of one sentence."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0] if len(lines[0]) <= most else f"{lines[0][:most]}…"


class RuntimeUnavailable(HarnessError):
    """A runtime cannot work on this host; the hint is the command that would mend it."""

    exit_code = 3


SUDO = "run the same command with sudo"


class NeedsRoot(RuntimeUnavailable):
    """A runtime that root alone can use on this host; the doctor names all of them."""

    def __init__(self, message: str, hint: str = SUDO) -> None:
        super().__init__(message, hint)


class EnvironmentRefused(HarnessError):
    """The host is not fit for what was asked (`--strict`, no rights, no space)."""

    exit_code = 3


class ImageError(HarnessError):
    """The image could not be built, found or verified."""


class CommandFailed(HarnessError):
    """A program that we called failed; the message ends with what it said."""


class ChannelError(HarnessError):
    """The agent did not say what it should have said."""


class LaunchFailed(HarnessError):
    """A runtime did not bring an instance to READY."""


class DeadlineExceeded(HarnessError):
    """Something that had a time limit did not happen in time."""
