"""Proof that what ran in a box is what lies in the image.

Three proofs, from cheap to whole. Each measured instance hashes, from inside and after its
last sample, the files that it executed. Once a runtime and run, an unmeasured instance derives
the digest of the whole root again. And on bare metal, where nothing keeps a program inside,
an unmeasured run of the workload is traced: every file that it opened or mapped must lie in
the image or on a short, printed allow-list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import ImageError
from harness.image.manifest import parse_manifest
from harness.image.tree import LIBRARIES, LOADER, outside_view, resolve_inside
from harness.model import AGENT_PATH, Identity, Image, Instance
from harness.process import run

ALLOWED_OUTSIDE = ("/proc/", "/sys/", "/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
"""What a bare-metal workload may open beyond the image: the kernel's own files."""


def executed_files(image: Image, argv: Sequence[str]) -> Mapping[str, str]:
    """Paths inside the image that a job executes (program, loader, libraries), with SHA-256.

    Found untimed, by the image's own loader. Raises ImageError when the program is not there.
    """
    listed = parse_manifest(image.manifest.read_bytes())
    root = image.root
    program = resolve_inside(root, argv[0])
    if program not in listed:
        raise ImageError(
            f"the image has no program {argv[0]}", "see tarebench image show for its packages"
        )
    paths = [AGENT_PATH, program, resolve_inside(root, LOADER)]
    said = run(
        [outside_view(root, LOADER), "--library-path", outside_view(root, LIBRARIES), "--list",
         outside_view(root, program)], check=False,
    )  # fmt: skip
    for word in said.stdout.decode(errors="replace").split():
        if word.startswith(str(root)):
            paths.append(resolve_inside(root, word.removeprefix(str(root))))
    return {path: listed[path].content for path in dict.fromkeys(paths) if path in listed}


def prove(instance: Instance, expected: Mapping[str, str], outside: Sequence[str]) -> Identity:
    """Hash the executed files from inside and compare."""
    found = instance.hash_files(list(expected))
    return Identity(
        identical=dict(found) == dict(expected) and not outside,
        files=dict(found),
        outside=list(outside),
    )


def opened_outside(image: Image, opened: Sequence[str], scratch: str) -> Sequence[str]:
    """What a traced bare-metal job opened that is neither in the image nor allowed."""
    inside = (f"{image.root.resolve()}/", f"{image.root}/", f"{scratch}/")
    return [
        path
        for path in opened
        if path.startswith("/") and not path.startswith((*inside, *ALLOWED_OUTSIDE))
    ]
