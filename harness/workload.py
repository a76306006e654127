"""What runs inside every box: a job and what its output must be, or a service that answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from harness.model import Frozen, Job, Metric
from harness.parsers.chosen import Parser
from harness.serving import Service
from harness.settings import Seconds


class ServiceText(Frozen, frozen=True):
    """What makes a workload a service: it stays, and answers on a Unix socket.

    It runs in the folder that it may write to, where its `socket` is; `input` is its standard
    input. It serves when it answers `request` with something that begins with `answer`.
    """

    request: Annotated[str, Meta(min_length=1, max_length=4000)]
    answer: Annotated[str, Meta(min_length=1, max_length=4000)]
    socket: Annotated[str, Meta(pattern=r"^[\w.-]{1,100}$")] = "served.sock"
    input: str = ""
    poll_s: Annotated[float, Meta(ge=0.0001, le=1)] = 0.0002


class Workload(Frozen, frozen=True):
    """What runs inside: the job after READY, and what its output must be."""

    argv: Annotated[list[str], Meta(min_length=1)]
    env: dict[str, str] = msgspec.field(default_factory=dict)
    uid: Annotated[int, Meta(ge=0, le=2**31)] = 65534
    gid: Annotated[int, Meta(ge=0, le=2**31)] = 65534
    timeout_s: Seconds = 60.0
    expected_output: str | None = None
    service: ServiceText | None = None
    parser: Parser | None = None

    def metrics(self) -> Mapping[str, Metric]:
        """The metrics that its parser declares, by name."""
        return {} if self.parser is None else self.parser.metrics()

    def job(self, scratch: str, trace: bool = False) -> Job:
        """The job for a box whose folder to write to is `scratch`."""
        return Job(
            argv=[word.replace("{scratch}", scratch) for word in self.argv],
            env=self.env, uid=self.uid, gid=self.gid, timeout_s=self.timeout_s, trace=trace,
        )  # fmt: skip

    def serving(self, scratch: str, trace: bool = False) -> Service | None:
        """The service for such a box, or None where the workload ends by itself."""
        said = self.service
        if said is None:
            return None
        return Service(
            job=self.job(scratch, trace), folder=scratch, socket=said.socket,
            request=said.request, answer=said.answer, input=said.input, poll_s=said.poll_s,
        )  # fmt: skip
