"""Where a box keeps the files of its jobs: in its writable layer, in a volume, on its disk.

A volume is a folder of the host that is bind-mounted into the box, which is what an engine's
local volumes are too. It is mounted below /run, which no digest covers, so that the image stays
what it is; the layer is reached by /var/tmp, which every distribution has and every job may use.
"""

from __future__ import annotations

from pathlib import Path

from harness.model import InstanceSpec, Parameter, Storage, StorageKind
from runtimes.domain_xml import Domain, aio

LAYER, VOLUME = "layer", "volume"
STORAGE = Parameter(
    LAYER, (LAYER, VOLUME), "where jobs write: the writable layer, or a bind-mounted folder"
)
LAYER_PATH = "/var/tmp"
VOLUME_PATH = "/run/volume"


def make_storage(chosen: str, spec: InstanceSpec, layer: Path | None) -> Storage:
    """The place that was chosen; a volume's folder is made here, untimed.

    `layer` is where the writable layer's files are on this host, as far as it is known.
    """
    if chosen == LAYER:
        kind = StorageKind.DIRECTORY if spec.whole else StorageKind.LAYER
        return Storage(LAYER_PATH, kind, layer)
    folder = spec.directory / "volume"
    folder.mkdir()
    folder.chmod(0o1777)
    return Storage(VOLUME_PATH, StorageKind.VOLUME, folder)


def bound_folder(storage: Storage) -> Path | None:
    """The folder of the host that is to be bind-mounted at the storage's path, if any."""
    return storage.host if storage.kind is StorageKind.VOLUME else None


def guest_storage(domain: Domain) -> Storage:
    """The guest's own disk: its root filesystem is on it."""
    kind = StorageKind.RAW if domain.backing is None else StorageKind.QCOW2
    return Storage(
        LAYER_PATH, kind, domain.disk, domain.cache, aio(domain.cache),
        host_cached=domain.cache != "none",
    )  # fmt: skip
