"""Finding stored runs: by folder, by report, as `latest`, or the shipped `demo`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from harness import paths, resources
from harness import scenario as scenarios
from harness.errors import UsageError
from harness.model import SCHEMA_VERSION, Frozen, Trial
from harness.paths import MANIFEST
from harness.scenario import Scenario, Source
from harness.stopping import Rule

if TYPE_CHECKING:
    from harness.runner import Request


@dataclass(frozen=True)
class StoredRun:
    """What a list shows of a run."""

    folder: Path
    title: str
    outcome: str
    started_utc: str


class _Titled(Frozen, frozen=True, forbid_unknown_fields=False):
    title: str


class _Manifest(Frozen, frozen=True, forbid_unknown_fields=False):
    """What of a manifest a list needs."""

    scenario: _Titled
    started_utc: str
    outcome: str = "cut off"


def known_runs() -> Sequence[StoredRun]:
    """The runs in the results folder, oldest first; what is no run is left out."""
    found = []
    for path in sorted(paths.results().glob(f"*/{MANIFEST}")):
        try:
            said = msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OSError):
            continue
        found.append(StoredRun(path.parent, said.scenario.title, said.outcome, said.started_utc))
    return sorted(found, key=lambda run: run.started_utc)


def all_runs(more: Sequence[str] = ()) -> Sequence[Path]:
    """Every run in the results folder, and those that `more` names: a run, or a folder of runs.

    Raises UsageError for a name that is neither.
    """
    return [
        *(run.folder for run in known_runs()),
        *(path for name in more for path in runs_in(name)),
    ]


def runs_in(name: str) -> Sequence[Path]:
    """The runs in a folder of runs (and of such folders) or of reports, or the one that is named.

    Raises UsageError for what is neither.
    """
    folder = Path(name)
    if not folder.is_dir() or (folder / MANIFEST).is_file():
        return [find_run(name)]
    inside = [
        path.parent for depth in ("*", "*/*") for path in sorted(folder.glob(f"{depth}/{MANIFEST}"))
    ]
    return [*inside, *sorted(folder.glob("*.html"))] or [find_run(name)]


def find_run(name: str) -> Path:
    """The folder or report behind RUN; raises UsageError."""
    if name == "demo":
        return resources.demo_run()
    if name.startswith("demo/"):
        shipped = resources.reference_runs()
        if name.removeprefix("demo/") not in shipped:
            raise UsageError(
                f"there is no reference run {name!r}",
                f"there are {', '.join(f'demo/{each}' for each in shipped)}",
            )
        return shipped[name.removeprefix("demo/")]
    if name == "latest":
        runs = known_runs()
        if not runs:
            raise UsageError(
                f"there is no run in {paths.results()}", "tarebench run quick makes one"
            )
        return runs[-1].folder
    for path in (Path(name), paths.results() / name):
        if paths.exists(path):
            return path.absolute()
    raise UsageError(f"there is no run {name!r}", "tarebench list runs shows what there is")


def request_to_resume(folder: Path) -> Request:
    """What a cut-off run was asked for; raises UsageError when it cannot go on."""
    from harness.imagecheck import built
    from harness.runner import Request

    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=dict[str, Any])
    except (OSError, UnicodeDecodeError, RecursionError, msgspec.DecodeError):
        raise UsageError(
            f"{folder} is not a run folder that can be resumed", "tarebench list runs"
        ) from None
    if manifest.get("schema") != SCHEMA_VERSION:
        raise UsageError(
            f"{folder.name} was written in another schema of tarebench", "start a new run"
        )
    if manifest.get("outcome") == "complete":
        raise UsageError(f"the run {folder.name} is complete", f"tarebench report {folder}")
    try:
        scenario = msgspec.convert(manifest["scenario"], Scenario)
        rule = msgspec.convert(manifest["rule"], Rule)
        msgspec.convert(manifest["plan"], list[Trial])
        request = Request(
            scenario=scenario, folder=folder, seed=msgspec.convert(manifest["seed"], int),
            rule=rule, command=msgspec.convert(manifest["command"], tuple[str, ...]),
            earlier=manifest,
            source=msgspec.convert(manifest.get("scenario_file"), Source | None),
        )  # fmt: skip
        digest = manifest["image"]["digest"]
    except (KeyError, TypeError, msgspec.ValidationError) as error:
        raise UsageError(
            f"the run {folder.name} cannot be resumed: its manifest lacks what is needed ({error})",
            "start a new run; finished trials of the old one stay in its folder",
        ) from error
    if not scenario.experiments.chosen():
        raise UsageError(
            f"the run {folder.name} cannot be resumed: `tarebench run` did not make it",
            f"make it anew: {manifest.get('repeat_with', 'with the tool that made it')}",
        )
    image = built(request.scenario.image.packages)
    if image is None or image.digest != digest:
        raise _changed("the image has")
    _require_same_scenario(manifest, request.source)
    return request


def _changed(what: str) -> UsageError:
    return UsageError(
        f"the run cannot be resumed: {what} changed since it began",
        "start a new run; finished trials of the old one stay in its folder",
    )


def _require_same_scenario(manifest: Mapping[str, Any], source: Source | None) -> None:
    """Raises UsageError when the manifest's scenario, or the file that it is from, was changed.

    A file that is not there any more has not changed: the manifest holds all that is needed.
    """
    stored = manifest.get("scenario_sha256")  # runs of before have none
    if stored is not None and stored != scenarios.digest(manifest["scenario"]):
        raise _changed("the scenario in its manifest was")
    if source is None:
        return
    try:
        now = scenarios.source(source.file)
    except UsageError:
        return
    if now.sha256 != source.sha256:
        raise _changed(f"the scenario {source.file} has")
