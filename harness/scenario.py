"""Scenarios: a question as a file, read strictly.

A scenario is one TOML file. An unknown key, a wrong type or an impossible value is refused
with the place of the fault; practical thresholds are part of the file, so that they are fixed
before any data. What a run used is written to its manifest as resolved here.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import Meta

from harness import registry, resources
from harness.errors import ScenarioError, UsageError
from harness.metrics import METRICS
from harness.model import MIB, Frozen, Limits
from harness.paths import is_file
from harness.probes import cpu
from harness.settings import Experiments, PositiveInt, Sampler
from harness.sizes import size_bytes
from harness.workload import Workload

_MIN_MEMORY_BYTES = 16 * MIB
_MAX_PIDS = 1 << 22
"""The kernel's own limit (PID_MAX_LIMIT); its CFS quotas begin at a hundredth of a CPU."""

PackageName = Annotated[
    str, Meta(pattern=r"^[a-z0-9][a-z0-9+.-]*[a-z0-9+]$", max_length=100)
]  # a name by Debian's policy, and nothing that apt could take for more than a name

T = TypeVar("T")


class LimitsText(Frozen, frozen=True):
    """Limits as they are written: `memory = "128 MiB"`; `cpus = "all"` is all of this host's."""

    cpus: Annotated[float, Meta(ge=0.01, le=4096)] | Literal["all"] | None = None
    memory: str | PositiveInt | None = None
    pids: Annotated[int, Meta(ge=1, le=_MAX_PIDS)] | None = None


class ImageText(Frozen, frozen=True):
    """What is added to the image: Debian packages by name, which make an image of its own."""

    packages: Annotated[tuple[PackageName, ...], Meta(max_length=50)] = ()


class Threshold(Frozen, frozen=True):
    """The smallest difference that matters in practice: a ratio of medians."""

    ratio: Annotated[float, Meta(gt=1, le=100)]


class ScenarioFile(Frozen, frozen=True):
    """The file as written."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    title: str
    question: str
    experiments: Experiments
    runtimes: tuple[str, ...] = ()
    workload: str | Workload = "hello"
    description: str = ""
    limits: LimitsText = LimitsText()
    image: ImageText = ImageText()
    blocks: Annotated[int, Meta(ge=1, le=10000)] = 10
    warmup_blocks: Annotated[int, Meta(ge=0, le=100)] = 1
    retries: Annotated[int, Meta(ge=0, le=10)] = 0
    sampler: Sampler = Sampler()
    thresholds: dict[str, Threshold] = msgspec.field(default_factory=dict)


class Scenario(Frozen, frozen=True):
    """A scenario as resolved: what the plan is made of, and what the manifest keeps."""

    name: str
    title: str
    question: str
    description: str
    runtimes: list[str]
    experiments: Experiments
    workload: Workload
    limits: Limits
    blocks: int
    warmup_blocks: int
    thresholds: dict[str, Threshold]
    sampler: Sampler = Sampler()
    image: ImageText = ImageText()
    retries: int = 0
    """How often a trial is begun anew when a launch in it failed; each time is counted."""


def available() -> Mapping[str, Path]:
    """The shipped scenarios by name."""
    folder = resources.scenarios()
    return {path.stem: path for path in sorted(folder.glob("*.toml")) if path.stem != "workloads"}


def find(name: str) -> Path:
    """The file of a scenario given by name or path; raises UsageError."""
    shipped = available()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.suffix == ".toml" or "/" in name:
        if not is_file(path):
            raise UsageError(f"there is no scenario file {name}", "give a name or a TOML file")
        return path
    near = difflib.get_close_matches(name, shipped, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shipped)}"
    raise UsageError(f"there is no scenario {name!r}", hint)


class Source(Frozen, frozen=True):
    """The file that a scenario was read from: its name or absolute path, and what it held."""

    file: str
    sha256: str


def source(name: str) -> Source:
    """Of a scenario given by name or path; raises UsageError."""
    path = find(name)
    file = name if name in available() else str(path.absolute())
    try:
        return Source(file, hashlib.sha256(path.read_bytes()).hexdigest())
    except OSError as error:
        raise _unreadable(path, error) from error


def digest(scenario: object) -> str:
    """Of a resolved scenario as it stands in the manifest, whatever the order of its keys."""
    text = json.dumps(scenario, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def load(
    name: str,
    *,
    runtimes: Sequence[str] = (),
    blocks: int | None = None,
    settings: Sequence[str] = (),
) -> Scenario:
    """Read, override and resolve a scenario.

    `runtimes` replaces the list, `blocks` the number of blocks; `settings` are `KEY=VALUE`
    with dotted TOML keys, or a bare key where only one place has it. Raises ScenarioError
    or UsageError.
    """
    path = find(name)
    raw = _read(path)
    for setting in settings:
        _override(raw, setting)
    if blocks is not None:
        raw["blocks"] = blocks
    if runtimes:
        raw["runtimes"] = list(runtimes)
    return _resolve(_convert(raw, ScenarioFile, path.name), path.name)


def checked_packages(names: Sequence[str] | None) -> tuple[str, ...]:
    """Names of packages as a command line gives them; raises UsageError."""
    try:
        return msgspec.convert({"packages": list(names or ())}, ImageText).packages
    except msgspec.ValidationError as error:
        raise UsageError(
            f"--package: {_plain(str(error))}",
            "give a name such as zstd, without version or option",
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScenarioError(
            f"{path.name} is not valid TOML: {error}", "see the shipped scenarios for the format"
        ) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> ScenarioError:
    return ScenarioError(
        f"{path.name} cannot be read: {error.strerror}", "give a name or a TOML file"
    )


def _convert(raw: Any, kind: type[T], where: str) -> T:
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{where}: {_plain(str(error))}", _known_keys(str(error))) from error


def _plain(text: str) -> str:
    """msgspec's message with the place first: `limits.cpus: expected …`."""
    message, _, place = text.partition(" - at `$")
    message = message.replace("Invalid enum value", "expected something else than")
    place = place.rstrip("`").lstrip(".") or "the top level"
    return f"{place}: {message[:1].lower()}{message[1:]}"


def _known_keys(text: str) -> str:
    """The hint: what could have been meant, or what there is to choose from."""
    refused = re.search(r"Invalid enum value (.*?)(?: - at `\$\.(.*)`)?$", text)
    if refused:
        words = _choices(ScenarioFile, re.sub(r"\[.*?\]", "", refused[2] or "").split("."))
        near = difflib.get_close_matches(refused[1].strip("'"), words, 1)
        return f"did you mean {near[0]}?" if near else f"choose from {', '.join(words)}"
    unknown = re.search(r"unknown field `([^`]+)`", text)
    if not unknown:
        return "see the shipped scenarios for the format"
    every = sorted({key for key, _ in _fields(ScenarioFile)} - {unknown[1]})
    near = difflib.get_close_matches(unknown[1], every, 1)
    return f"did you mean {near[0]}?" if near else f"known keys: {', '.join(every)}"


def _fields(kind: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Each key of the format with its dotted path, through nested tables."""
    for field in msgspec.structs.fields(kind):
        yield field.name, prefix + field.name
        for part in getattr(field.type, "__args__", (field.type,)):
            nested = isinstance(part, type) and issubclass(part, msgspec.Struct)
            if nested and part is not Threshold:
                yield from _fields(part, f"{prefix}{field.name}.")


def _choices(kind: Any, path: Sequence[str]) -> list[str]:
    """The words that a key takes, in the order in which they are written down."""
    here = [field.type for field in msgspec.structs.fields(kind) if field.name == path[0]]
    parts = [part for each in here for part in (each, *getattr(each, "__args__", ()))]
    for part in parts:
        if path[1:] and isinstance(part, type) and issubclass(part, msgspec.Struct):
            return _choices(part, path[1:])
    while parts:
        part = parts.pop(0)
        if get_origin(part) is Literal:
            return [str(word) for word in get_args(part)]
        parts += get_args(part)
    return []


def _override(raw: dict[str, Any], setting: str) -> None:
    key, equals, text = setting.partition("=")
    key = key.strip()
    if not equals or not key:
        raise UsageError(f"--set {setting!r} is not KEY=VALUE", "for example --set limits.cpus=2")
    paths = sorted({path for name, path in _fields(ScenarioFile) if path == key or name == key})
    if key in paths:
        paths = [key]
    if len(paths) > 1 and "." not in key:
        used = [path for path in paths if _has(raw, path.split(".")[:-1])]
        paths = used if len(used) == 1 else paths
        if len(paths) > 1:
            raise UsageError(f"--set {key} could mean several keys", f"one of {', '.join(paths)}")
    place = (paths[0] if paths else key).split(".")
    table = raw
    for part in place[:-1]:
        child = table.setdefault(part, {})
        if not isinstance(child, dict):
            raise UsageError(
                f"--set {key}: {part} is not a table", "write the whole table in a TOML file"
            )
        table = child
    table[place[-1]] = _value(text.strip())


def _has(raw: Mapping[str, Any], path: Sequence[str]) -> bool:
    table: Any = raw
    for part in path:
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _value(text: str) -> Any:
    """A TOML value where it is one, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def _resolve(file: ScenarioFile, where: str) -> Scenario:
    if not file.experiments.chosen():
        raise ScenarioError(
            f"{where}: experiments: none is named", "for example [experiments.startup]"
        )
    workload = _workload(file.workload, where)
    known = {**METRICS, **workload.metrics()}
    for metric in file.thresholds:
        if metric not in known:
            near = difflib.get_close_matches(metric, known, 1)
            hint = f"did you mean {near[0]}?" if near else "tarebench list metrics names them all"
            raise ScenarioError(f"{where}: thresholds: there is no metric {metric!r}", hint)
    experiments = _named(file.experiments, where)
    wanted = [name for each in experiments.chosen().values() for name in each.named()]
    runtimes = registry.expand(file.runtimes or wanted)
    if not runtimes:
        raise ScenarioError(f"{where}: runtimes: none is named", 'for example runtimes = ["runc"]')
    limits = _limits(file.limits, where)
    _check_room(experiments, limits, where)
    return Scenario(
        name=file.name, title=file.title, question=file.question, description=file.description,
        runtimes=runtimes, experiments=experiments, workload=workload, limits=limits,
        blocks=file.blocks, warmup_blocks=file.warmup_blocks,
        image=file.image, thresholds=file.thresholds, sampler=file.sampler, retries=file.retries,
    )  # fmt: skip


def _named(experiments: Experiments, where: str) -> Experiments:
    """The experiments with the runtimes that they name in canonical form."""
    try:
        renamed = {n: each.renamed(registry.canonical) for n, each in experiments.chosen().items()}
    except ValueError as error:  # two ways to write one runtime
        raise ScenarioError(f"{where}: experiments: {error}", "name each runtime once") from error
    return msgspec.structs.replace(experiments, **renamed)


def shared_workloads() -> Mapping[str, Workload]:
    """The workloads that scenarios share, by name."""
    text = _read(resources.scenarios() / "workloads.toml")
    return _convert(text, dict[str, Workload], "workloads.toml")


def _workload(given: str | Workload, where: str) -> Workload:
    if isinstance(given, str):
        shared = shared_workloads()
        if given not in shared:
            raise ScenarioError(
                f"{where}: workload: there is no workload {given!r}",
                f"workloads.toml has {', '.join(sorted(shared))}",
            )
        given = shared[given]
    if not given.argv[0].startswith("/"):
        raise ScenarioError(
            f"{where}: workload.argv: {given.argv[0]!r} is not an absolute path inside the image",
            "for example /usr/bin/echo",
        )
    if any("\0" in word for word in (*given.argv, *given.env, *given.env.values())):
        raise ScenarioError(
            f"{where}: workload: a NUL byte cannot be passed to a program", "leave it out"
        )
    return given


def _limits(text: LimitsText, where: str) -> Limits:
    memory = None if text.memory is None else _bytes(text.memory, where)
    cpus = float(cpu.count()) if text.cpus == "all" else text.cpus
    return Limits(cpus=cpus, memory_bytes=memory, pids=text.pids)


def _check_room(experiments: Experiments, limits: Limits, where: str) -> None:
    """Refuse what no instance could hold, before any is started."""
    if limits.memory_bytes is None:
        return
    for name, settings in experiments.chosen().items():
        held = settings.held()
        if size_bytes(held) >= limits.memory_bytes:
            raise ScenarioError(
                f"{where}: experiments.{name}.touched: no instance can hold {held} within "
                f"limits.memory ({limits.memory_bytes // MIB} MiB)",
                "make it smaller, or the limit larger",
            )


def _bytes(text: str | int, where: str) -> int:
    try:
        size = size_bytes(text)
    except ValueError as error:
        raise ScenarioError(f"{where}: limits.memory: {error}", 'write it as "128 MiB"') from error
    if size < _MIN_MEMORY_BYTES:
        raise ScenarioError(
            f"{where}: limits.memory: {size} bytes is less than any box can start with",
            f"give at least {_MIN_MEMORY_BYTES // MIB} MiB",
        )
    return size
