"""Services: jobs that stay, and what only instances that can hold one offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from harness.model import Job


@dataclass(frozen=True)
class Service:
    """A job that stays and answers on a Unix socket, by name in the folder where it runs.

    `input` is its standard input. It is asked with `request` every `poll_s` until it takes the
    connection (nothing tells that a service listens); `answer` is how its answer must begin.
    `job.timeout_s` is for the answer.
    """

    job: Job
    folder: str
    socket: str
    request: str
    answer: str
    input: str = ""
    poll_s: float = 0.0002


@dataclass(frozen=True)
class Served:
    """The first answer of a service: host stamps of its start and of the answer's arrival.

    `tries` is how often a connection was tried, and `opened` what a traced one opened.
    """

    started_ns: int
    served_ns: int
    tries: int
    opened: tuple[str, ...] = ()


@runtime_checkable
class Serves(Protocol):
    """Instances in which a service can be started, to stay until the end of the box."""

    def serve(self, service: Service) -> Served:
        """Start it and wait for its first answer. Raises ChannelError with the reason."""
        ...

    def send_request(self, service: Service, stamp_ns: int) -> None:
        """Send a request to it that carries a stamp; its answer is taken as that of a ping is.

        What is asked of one instance is asked inside one after another, each on a connection of
        its own. That it no longer listens is raised as ChannelError when the answer is taken.
        """
        ...

    def take_pong(self, wait_s: float) -> tuple[int, int] | None:
        """The next answer: the stamp of its request, and when it arrived. None when none came."""
        ...
