"""An engine's images and containers as files: which layers hold them, and what each one adds.

An engine with an overlay driver tells, in answer to `inspect`, the folders that it mounts. So
bytes are counted where they lie, in the folders of the layers, and not by the engine's sums.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness.errors import DeadlineExceeded, HarnessError, LaunchFailed, RuntimeUnavailable
from harness.model import Ledger
from runtimes.docker_api import Api, NotThere, asking, connect

KIND = "engine-image"
"""The inventory's word for an image that a run has made in an engine for a while."""
RUN_LABEL = "tarebench.run"


def image_layers(api: Api, image: str) -> Sequence[Path]:
    """The folders that hold an image, the topmost first; none where the driver has no such."""
    with asking(f"inspecting {image}", LaunchFailed):
        return _folders(api.inspect_image(image))


def upper_layer(api: Api, container: str) -> Path | None:
    """The folder of a container's writable layer, where its storage driver has one."""
    return next(iter(_container_folders(api, container)), None)


def own_layers(api: Api, container: str) -> Sequence[Path]:
    """What the engine keeps for a container alone: its layer, and the one below it that holds
    the files which the engine puts into every container."""
    upper, *lower = _container_folders(api, container)
    return [path.parent for path in (upper, *lower) if path == upper or _is_of_one(path)]


def _is_of_one(layer: Path) -> bool:
    return layer.parent.name.endswith("-init")


def _container_folders(api: Api, container: str) -> Sequence[Path]:
    with asking(f"inspecting {container}", HarnessError):
        return _folders(api.inspect_container(container))


def _folders(said: Mapping[str, Any]) -> Sequence[Path]:
    data = (said.get("GraphDriver") or {}).get("Data") or {}
    if not Path(data.get("UpperDir") or "").is_dir():
        return []
    return [Path(data["UpperDir"]), *map(Path, filter(None, data.get("LowerDir", "").split(":")))]


def imported(
    api: Api,
    archive: IO[bytes] | Iterator[bytes],
    repository: str,
    tag: str,
    changes: Sequence[str],
) -> None:
    """Make an image of an archive; raises LaunchFailed with the engine's message.

    The tag is given afterwards: some versions of Podman do not heed the one in the request.
    """
    with asking("importing the image", LaunchFailed):
        said = api.import_image(archive, repository=repository, tag=tag, changes=changes)
        answers = [json.loads(line) for line in said.splitlines()]
        for answer in answers:
            if answer.get("error"):
                raise LaunchFailed(f"importing the image: {answer['error']}")
        api.tag(answers[-1]["status"], repository, tag)


@contextlib.contextmanager
def announced(
    inventory: Ledger, name: str, host: str, run_id: str, *, private: bool
) -> Iterator[None]:
    """An image that is about to be made in an engine, and is gone at the end."""
    inventory.will_make(KIND, name, host=host, run=run_id, private="yes" if private else "no")
    try:
        yield
    finally:
        api = connect(host)
        try:
            forget(api, name)
        finally:
            api.close()
        inventory.removed(KIND, name)


def forget(api: Api, image: str) -> None:
    """Have an engine drop an image by a name of it; that there is none is fine.

    All its names go: Podman gives one that it imports a name of its own beside the one asked for.
    """
    with contextlib.suppress(NotThere), asking(f"removing {image}", HarnessError):
        known = api.inspect_image(image)
        for name in known.get("RepoTags") or [known["Id"]]:
            api.remove_image(name)


class ImageCleaner:
    """Removes an image by its inventory entry, if the label says that it is that run's.

    What a private engine keeps is removed when one next starts on the same data.
    """

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        try:
            api = connect(details.get("host", ""))
        except (RuntimeUnavailable, DeadlineExceeded):
            return details.get("private") != "yes"
        try:
            with asking(f"inspecting {name}", HarnessError):
                labels = api.inspect_image(name)["Config"].get("Labels") or {}
            return bool(labels.get(RUN_LABEL) == details.get("run"))
        except NotThere:
            return False
        finally:
            api.close()

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        """Raises RuntimeUnavailable when its engine does not answer now."""
        api = connect(details.get("host", ""))
        try:
            forget(api, name)
        finally:
            api.close()


images = ImageCleaner()
"""What the group `tarebench.cleaners` names for the kind `engine-image`."""
