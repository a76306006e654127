"""What runs inside every box: a job, and what its output must be."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from harness.model import Frozen, Job
from harness.settings import Seconds


class Workload(Frozen, frozen=True):
    """What runs inside: the job after READY, and what its output must be."""

    argv: Annotated[list[str], Meta(min_length=1)]
    env: dict[str, str] = msgspec.field(default_factory=dict)
    uid: Annotated[int, Meta(ge=0, le=2**31)] = 65534
    gid: Annotated[int, Meta(ge=0, le=2**31)] = 65534
    timeout_s: Seconds = 60.0
    expected_output: str | None = None

    def job(self, scratch: str, trace: bool = False) -> Job:
        """The job for a box whose folder to write to is `scratch`."""
        return Job(
            argv=[word.replace("{scratch}", scratch) for word in self.argv],
            env=self.env, uid=self.uid, gid=self.gid, timeout_s=self.timeout_s, trace=trace,
        )  # fmt: skip
