"""The words of tarebench as types: what flows from a scenario file to a stored record.

Everything here is immutable, and nothing here imports anything else of ours. The straight
line is `Scenario → Trial → (Runtime → Instance → marks, samples) → TrialRecord`.

Units: every duration that is a mark is in integer nanoseconds of the host's CLOCK_MONOTONIC
(`_ns`); every sample is in the base unit of its metric (`s`, `bytes`, `1/s`, `1`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import msgspec

SCHEMA_VERSION = 1
"""Version of `manifest.json`, `journal.jsonl` and `samples.parquet`; see results/README.md."""

MIB = 1024 * 1024


class RuntimeClass(StrEnum):
    """What kind of box a runtime makes."""

    BARE = "bare metal"
    JAIL = "jail"
    CONTAINER = "container"
    SANDBOX = "sandboxed container"
    MACHINE = "virtual machine"
    EMULATED = "emulated machine"

    @property
    def is_machine(self) -> bool:
        """Whether the box brings a kernel of its own."""
        return self in (RuntimeClass.MACHINE, RuntimeClass.EMULATED)

    @property
    def shares_kernel(self) -> bool:
        """Whether the box runs on the host's kernel: its processes and clock are the host's."""
        return not self.is_machine and self is not RuntimeClass.SANDBOX


class Mark(StrEnum):
    """A named instant of a trial on the host's monotonic clock (DESIGN: marks)."""

    REQUEST = "request"
    CREATED = "created"
    STARTED = "started"
    VMM = "vmm"
    FIRMWARE = "firmware"
    LOADER = "loader"
    KERNEL = "kernel"
    INIT = "init"
    READY = "ready"
    SERVED = "served"
    STOP = "stop"
    EXITED = "exited"
    REMOVED = "removed"


class Outcome(StrEnum):
    """How a trial ended; only an `ok` trial has samples."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


class Support(StrEnum):
    """Whether a runtime can hold an instance to one kind of limit."""

    SUPPORTED = "supported"
    UNSUPPORTED = "unsupported"


class Frozen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything that is read from or written to a file."""


class Limits(Frozen, frozen=True):
    """What each instance is given, as an *inside budget*: what the workload sees.

    `cpus` is a number of processors (a guest gets that many vCPUs, rounded up, and a
    container a CFS quota); `memory_bytes` a guest's RAM or a container's cgroup limit.
    None means unlimited, except for machines, which then take their adapter's default.
    """

    cpus: float | None = None
    memory_bytes: int | None = None
    pids: int | None = None


class LimitSupport(Frozen, frozen=True):
    """Which limits a runtime enforces; what it cannot limit is recorded as `unsupported`."""

    cpus: Support = Support.UNSUPPORTED
    memory: Support = Support.UNSUPPORTED
    pids: Support = Support.UNSUPPORTED


class Sample(Frozen, frozen=True):
    """One measured value."""

    metric: str
    value: float
    unit: str
    dimensions: dict[str, str] = {}


class Metric(Frozen, frozen=True):
    """What a metric means; `better` says which direction an improvement has."""

    name: str
    unit: str
    better: str
    description: str


class RuntimeFacts(Frozen, frozen=True):
    """What a runtime is on this host, found out by `probe()` without starting an instance.

    `accel` is `none` for boxes on the host's kernel, else `kvm`, `tcg`, …; it is what the
    VMM itself answers, never an assumption. `limits` tells what can be enforced.
    """

    versions: dict[str, str] = {}
    accel: str = "none"
    limits: LimitSupport = LimitSupport()
    notes: list[str] = []


class Identity(Frozen, frozen=True):
    """What was proven about the files that a trial executed.

    `files` maps a path inside the image to the SHA-256 that the agent took of it, from
    inside, after the last sample; `outside` lists what a bare-metal workload opened beyond
    the image and beyond the allow-list. `identical` is None when nothing could be checked.
    """

    identical: bool | None = None
    files: dict[str, str] = {}
    outside: list[str] = []


class Trial(Frozen, frozen=True):
    """One planned execution: an experiment on a runtime at one place of a block."""

    trial: str
    experiment: str
    runtime: str
    block: int
    position: int
    warmup: bool = False


class TrialRecord(Frozen, frozen=True):
    """What happened in a trial: the line of the journal that is on disk before the next begins.

    `marks` are nanoseconds of CLOCK_MONOTONIC; `wall_s` is the whole trial including its
    untimed preparation. `conditions` are the guards that travel with the numbers.
    """

    trial: str
    experiment: str
    runtime: str
    runtime_class: str
    accel: str
    block: int
    position: int
    warmup: bool
    outcome: Outcome
    reason: str
    started_utc: str
    wall_s: float
    marks: dict[str, int] = {}
    samples: list[Sample] = []
    identity: Identity = Identity()
    conditions: dict[str, str | float | int | bool | None] = {}


@dataclass(frozen=True)
class Image:
    """The one root filesystem: a built, verified entry of the image store."""

    digest: str
    directory: Path
    """The store entry: holds `rootfs/`, `rootfs.tar`, `manifest.txt`, `image.json`, forms."""
    agent_sha256: str
    excludes: tuple[str, ...]
    """Absolute paths inside the image that boxes must provide, and that no digest covers."""

    @property
    def root(self) -> Path:
        """The image as a directory tree."""
        return self.directory / "rootfs"

    @property
    def manifest(self) -> Path:
        """One line a path: see harness/image/manifest.py."""
        return self.directory / "manifest.txt"


AGENT_PATH = "/usr/lib/tarebench/agent"
"""Where the agent lies inside the image."""

CHANNEL_DIRECTORY = "/run/tarebench"
"""Where boxes on the host's kernel find the directory of the channel's socket."""


@dataclass(frozen=True)
class Job:
    """One command that the agent runs inside an instance.

    `argv[0]` is an absolute path inside the image. `trace` asks for the list of all files
    that the job mapped or opened (ptrace, so never in a measured job).
    """

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    uid: int = 65534
    gid: int = 65534
    timeout_s: float = 60.0
    trace: bool = False


class Output(Protocol):
    """What a job wrote: kept in memory when small, in an unnamed file when large."""

    @property
    def size(self) -> int: ...
    def read(self) -> bytes: ...
    def open(self) -> IO[bytes]: ...


@dataclass(frozen=True)
class Completed:
    """How a job ended. `started_ns` and `ended_ns` are host stamps; `duration_s` is the
    agent's own clock, kept beside them so that a guest's clock that runs wrong is seen."""

    exit_status: int | None
    signal: int | None
    timed_out: bool
    stdout: Output
    stderr: Output
    cpu_s: float
    duration_s: float
    started_ns: int
    ended_ns: int
    opened: tuple[str, ...] = ()


@dataclass(frozen=True)
class InstanceSpec:
    """What a runtime needs to make one instance.

    `name` is unique on the host. Both folders are there, private, and the caller's to remove:
    `directory` lies on a disk and takes the root's layer, or a copy of the image where the root
    is to be `whole`; `sockets` has a path short enough for Unix sockets.
    """

    name: str
    run_id: str
    image: Image
    limits: Limits
    directory: Path
    sockets: Path
    ready_timeout_s: float = 60.0
    whole: bool = False


class Marks(Protocol):
    """Collects the marks of one instance."""

    def stamp(self, mark: Mark) -> int: ...
    def at(self, mark: Mark, ns: int) -> None: ...
    def get(self, mark: Mark) -> int | None: ...


class Instance(Protocol):
    """One running box, ready for jobs."""

    def run(self, job: Job) -> Completed: ...
    def round_trip_ns(self) -> tuple[int, int | None]:
        """One channel round trip; the second is send-to-stamp delay where clocks are shared."""
        ...

    def facts(self) -> Mapping[str, str]:
        """The view from inside, as the agent reports it: kernel, CPUs, memory, limits."""
        ...

    def derive_manifest(self) -> bytes:
        """The manifest of the whole root filesystem, derived again from inside."""
        ...

    def hash_files(self, paths: Sequence[str]) -> Mapping[str, str]:
        """SHA-256 of files by their path inside, read there; what is not there is left out."""
        ...

    def drop_cached(self, paths: Sequence[str]) -> None:
        """Take files of the image out of the page cache of the box's kernel, unless mapped."""
        ...

    def touch(self, size_bytes: int, seed: int | None = None) -> int:
        """Have the agent hold so many bytes more of anonymous memory, each page written with
        content of its own; returns the bytes held in all. ChannelError when it cannot."""
        ...

    def release(self) -> int:
        """Have the agent give back all that it holds; returns what it holds then."""
        ...

    def scratch(self) -> str:
        """A folder inside the box that a job may write to."""
        ...

    def processes(self) -> Sequence[int]: ...
    def cgroups(self) -> Sequence[Path]: ...


class Runtime(Protocol):
    """One way to box a workload; adapters live in `runtimes/` and are found by entry point."""

    name: str
    runtime_class: RuntimeClass

    def probe(self) -> RuntimeFacts:
        """Raise RuntimeUnavailable(reason, hint) where it cannot work on this host."""
        ...

    def prepare(self, image: Image) -> None:
        """Derive this runtime's own form of the image. Idempotent, never timed."""
        ...

    def launch(self, spec: InstanceSpec, marks: Marks) -> AbstractContextManager[Instance]: ...

    def close(self) -> None:
        """Give back what `prepare` and `probe` hold (connections, a private engine)."""
        ...


class StorageKind(StrEnum):
    """What lies between a job's files and the host's filesystem."""

    DIRECTORY = "directory"
    LAYER = "overlayfs upper layer"
    VOLUME = "bind-mounted folder"
    QCOW2 = "virtio-blk on qcow2"
    RAW = "virtio-blk on raw"


@dataclass(frozen=True)
class Storage:
    """Where a job's files lie that are to be on a disk: what I/O is measured on.

    `path` is a folder inside the box that jobs may write to, `host` where on this host their
    bytes end up, or None where nobody tells. `cache` and `aio` are QEMU's words. With `host_cached`
    its page cache lies in between by intention: the device tells nothing of a single job.
    """

    path: str
    kind: StorageKind
    host: Path | None
    cache: str = ""
    aio: str = ""
    host_cached: bool = False


@runtime_checkable
class HasStorage(Protocol):
    """Instances that can say where a job's files lie on a disk."""

    def storage(self) -> Storage: ...


@runtime_checkable
class GuestMemory(Protocol):
    """Instances whose guest RAM can be told apart from their VMM's own memory."""

    def guest_memory_bytes(self) -> int:
        """Resident host memory that backs the guest's RAM."""
        ...


@runtime_checkable
class Balloons(Protocol):
    """Instances whose memory the host can ask back while they run."""

    def inflate(self, taken_bytes: int) -> None:
        """Take so much of its RAM away from the guest, and wait until that is done."""
        ...


@runtime_checkable
class Answers(Protocol):
    """Instances that can be sent requests without waiting for the answers."""

    def send_ping(self, stamp_ns: int) -> None:
        """Send a request that carries a stamp. Raises ChannelError when the box has gone."""
        ...

    def take_pong(self, wait_s: float) -> tuple[int, int] | None:
        """The next answer: the stamp of its request, and when it arrived. None when none came."""
        ...


@runtime_checkable
class OnTree(Protocol):
    """Runtimes whose boxes run on the image's own tree, so that a copy is other files to them."""

    on_tree: bool


@runtime_checkable
class Instruments(Protocol):
    """Runtimes that can show the guest kernel's first sign of life, at a cost."""

    def instrumented(self) -> Runtime:
        """The same runtime with the mark `kernel`; never mixed with plain trials."""
        ...


class RuntimeFactory(Protocol):
    """What an entry point of the group `tarebench.runtimes` names.

    `parameters` describes each accepted parameter: its values (or a pattern in words) and
    its default, so that `list runtimes` can tell them without probing anything.
    """

    runtime_class: RuntimeClass
    parameters: Mapping[str, Parameter]

    def __call__(self, name: str, parameters: Mapping[str, str], context: Context) -> Runtime: ...


@dataclass(frozen=True)
class Parameter:
    """One `key=value` of a runtime's name. `several` values may be joined by `+`."""

    default: str
    choices: tuple[str, ...] = ()
    description: str = ""
    several: bool = False

    def canonical(self, value: str) -> str | None:
        """The one way to write a value, or None where it is none: several in the choices' order."""
        if not self.choices or value == self.default:
            return value
        given = value.split("+") if self.several else [value]
        if any(part not in self.choices for part in given):
            return None
        return "+".join(choice for choice in self.choices if choice in given)


@runtime_checkable
class HasDaemon(Protocol):
    """Runtimes whose boxes lean on a daemon; `shared` says that others may use it too."""

    @property
    def shared_daemon(self) -> bool: ...
    def daemon_processes(self) -> Sequence[int]: ...


class Cleaner(Protocol):
    """Finds and removes one kind of thing by its inventory entry; both are idempotent.

    The entry may be old: a process must be identified by more than its number.
    """

    def exists(self, name: str, details: Mapping[str, str]) -> bool: ...
    def remove(self, name: str, details: Mapping[str, str]) -> None: ...


class Ledger(Protocol):
    """Where a runtime writes down what it is about to make on the host (the inventory)."""

    def will_make(self, kind: str, name: str, **details: str) -> None: ...
    def removed(self, kind: str, name: str) -> None: ...


@dataclass(frozen=True)
class Context:
    """What a runtime may use of the run it serves.

    `cache` outlives runs; `state` is the run's own folder on a short path, removed at its
    end; `cgroup` is the name of the run's own control group (see harness/probes/cgroups.py).
    With the option `boot` set to False a probe does without a boot, and notes `unprobed: …`.
    """

    run_id: str
    cache: Path
    state: Path
    cgroup: str
    inventory: Ledger
    options: Mapping[str, Any] = field(default_factory=dict)
