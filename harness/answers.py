"""What the agent says, as values.

A box is not trusted to answer as our agent would: what lacks a part, or has another in its
place, is a ChannelError, and so a failed trial with its reason.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping

from harness.errors import ChannelError
from harness.model import Completed, Output

_PONG = struct.Struct("<qq")
_NUMBER = re.compile(r"-?\d{1,19}", re.ASCII)


def pairs(payload: bytes) -> dict[str, str]:
    """Lines of `key=value`."""
    lines = payload.decode(errors="replace").splitlines()
    return dict(line.partition("=")[::2] for line in lines)


def number(said: Mapping[str, str], key: str) -> int:
    """A whole number among the pairs; raises ChannelError."""
    text = said.get(key, "")
    if not _NUMBER.fullmatch(text):
        raise ChannelError(f"the agent said no number for {key}, but {text[:40]!r}")
    return int(text)


def pong(payload: bytes) -> tuple[int, int]:
    """The stamp that came back, and when the agent sent it; raises ChannelError."""
    if len(payload) != _PONG.size:
        raise ChannelError(f"the agent answered a ping with {len(payload)} bytes")
    echoed, sent_ns = _PONG.unpack(payload)
    return echoed, sent_ns


def completed(
    payload: bytes, ends_ns: tuple[int, int], out: Output, err: Output, opened: tuple[str, ...]
) -> Completed:
    """How a job ended; `ends_ns`: the host's stamps of its start and end. Raises ChannelError."""
    said = pairs(payload)
    by, status = number(said, "signal"), number(said, "status")
    return Completed(
        exit_status=None if by else status, signal=by or None,
        timed_out=said.get("timed_out") == "1", stdout=out, stderr=err,
        cpu_s=number(said, "cpu_ns") / 1e9, duration_s=number(said, "duration_ns") / 1e9,
        started_ns=ends_ns[0], ended_ns=ends_ns[1], opened=opened,
    )  # fmt: skip
