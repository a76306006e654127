"""Proof that what ran in a box is what lies in the image.

Three proofs, from cheap to whole. Each measured instance hashes, from inside and after its
last sample, the files that it executed. Once a runtime and run, an unmeasured instance derives
the digest of the whole root again. And on bare metal, where nothing keeps a program inside,
an unmeasured run of the workload is traced: every file that it opened or mapped must lie in
the image or on a short, printed allow-list.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Protocol

from harness.errors import ImageError
from harness.image.manifest import parse_manifest
from harness.image.tree import LOADER, library_path, outside_view, resolve_inside
from harness.model import AGENT_PATH, Identity, Image
from harness.process import run

ALLOWED_OUTSIDE = (
    "/proc/", "/sys/", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random",
    "/etc/passwd", "/etc/nsswitch.conf",
    "/usr/lib/locale/", "/usr/share/locale/locale.alias", "/etc/locale.alias",
    "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules.cache",
    "/memfd:service ",
)  # fmt: skip
"""What a bare-metal workload may open beyond the image: the kernel's own files, and the words
that the C library looks up for anybody: names of users, names of locales. A library that such
a word leads to is not among them. The last is the input that the agent gives to a service."""


@functools.cache
def executed_files(image: Image, program: str) -> Mapping[str, str]:
    """Paths inside the image of a program, its loader and its libraries, with SHA-256.

    Found untimed, by the image's own loader. Raises ImageError when the program is not there.
    """
    listed = parse_manifest(image.manifest.read_bytes())
    root = image.root
    real = resolve_inside(root, program)
    if real not in listed:
        raise ImageError(
            f"the image has no program {program}", "see tarebench image show for its packages"
        )
    paths = [real, resolve_inside(root, LOADER)]
    said = run(
        [outside_view(root, LOADER), "--library-path", library_path(root), "--list",
         outside_view(root, real)], check=False,
    )  # fmt: skip
    for word in said.stdout.decode(errors="replace").split():
        if word.startswith(str(root)):
            paths.append(resolve_inside(root, word.removeprefix(str(root))))
    return {path: listed[path].content for path in dict.fromkeys(paths) if path in listed}


class HashesFiles(Protocol):
    """What can hash the files of a box: an instance by its agent, another by its root."""

    def hash_files(self, paths: Sequence[str]) -> Mapping[str, str]: ...


def prove(
    instance: HashesFiles, image: Image, programs: Sequence[str], outside: Sequence[str]
) -> Identity:
    """Hash the agent's and the executed programs' files from inside and compare."""
    expected = {AGENT_PATH: image.agent_sha256}
    for program in programs:
        expected |= executed_files(image, program)
    found = instance.hash_files(list(expected))
    return Identity(
        identical=dict(found) == dict(expected) and not outside,
        files=dict(found),
        outside=list(outside),
    )


def combined(proofs: Sequence[Identity]) -> Identity:
    """One proof of several instances: identical when each of them is."""
    return Identity(
        identical=all(proof.identical for proof in proofs),
        files={path: digest for proof in proofs for path, digest in proof.files.items()},
        outside=sorted({path for proof in proofs for path in proof.outside}),
    )


def opened_outside(image: Image, opened: Sequence[str], scratch: str) -> Sequence[str]:
    """What a traced bare-metal job opened that is neither in the image nor allowed.

    The root itself is where a job's current folder is: to hold it open reads nothing.
    """
    inside = (f"{image.root.resolve()}/", f"{image.root}/", f"{scratch}/")
    return [
        path
        for path in opened
        if path.startswith("/") and path != "/" and not path.startswith((*inside, *ALLOWED_OUTSIDE))
    ]
