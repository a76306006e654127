"""Build the one root filesystem, so that two builds of the same packages are the same bytes.

mmdebstrap unpacks Debian packages to an archive, with the host's own mirrors; hooks of the
recipe put the agent in and take out whatever is dated or belongs to this host. The manifest
is derived from the archive (where owners are right even for an ordinary user), then the
archive is unpacked, and the agent must print the same manifest from the result.
"""

from __future__ import annotations

import os
import select
import shlex
import shutil
import signal
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from harness import process
from harness.clock import Deadline
from harness.errors import CommandFailed, ImageError
from harness.image.agent import build_agent
from harness.image.cache import (
    finish,
    locked,
    partial_directory,
    remove_stale_partials,
    remove_tree,
    sha256_of,
)
from harness.image.manifest import differences, digest_of, manifest_of_tar, parse_manifest
from harness.image.recipe import Recipe, current_recipe, recipe_hash
from harness.image.sources import DEBIAN_KEYRING, apt_settings, source_lines
from harness.image.store import (
    RECORD,
    ImageRecord,
    entry_name,
    find,
    images_directory,
    load,
    read_record,
    remember,
)
from harness.model import Image

Progress = Callable[[str], None]

NEEDED_BYTES = 1_500_000_000
_BUILD_TIMEOUT_S = 1800.0
_TAIL_LINES = 15


def build(
    cache: Path,
    extra: Sequence[str] = (),
    *,
    refresh: bool = False,
    progress: Progress | None = None,
) -> Image:
    """The image of the current recipe, built now unless it is there already.

    With `extra` packages it is another image of its own digest, kept beside the plain one.
    `refresh` builds again with the packages of today. `progress` is called with one line of
    text a step. Raises ImageError (no mmdebstrap, no space, packages cannot be fetched).
    """
    tell = progress or (lambda _: None)
    if not refresh and (ready := find(cache, extra)) is not None:
        return ready
    agent = build_agent(cache)
    images = images_directory(cache)
    with locked(images / ".lock"):
        if not refresh and (ready := find(cache, extra)) is not None:
            return ready  # another process has built it while we waited
        remove_stale_partials(images)
        check_space(images)
        recipe = current_recipe(extra)
        image = _build_entry(images, agent, recipe, tell)
        remember(cache, recipe_hash(recipe, image.agent_sha256), image)
    return image


def check_space(directory: Path) -> None:
    """Raise ImageError if the folder's file system has too little room for a build."""
    free = shutil.disk_usage(directory).free
    if free < NEEDED_BYTES:
        raise ImageError(
            f"{directory} has {free // 10**6} MB free, and an image needs {NEEDED_BYTES // 10**6}",
            "tarebench image prune, or choose another cache folder",
        )


def _build_entry(images: Path, agent: Path, recipe: Recipe, tell: Progress) -> Image:
    with partial_directory(images / "image") as partial:
        mode = "root" if os.geteuid() == 0 else "unshare"
        archive = partial / "rootfs.tar"
        _make_archive(archive, agent, recipe, mode, tell)
        tell("deriving the manifest")
        manifest = manifest_of_tar(archive, recipe.excludes)
        (partial / "manifest.txt").write_bytes(manifest)
        tell("unpacking")
        unpack(archive, partial / "rootfs")
        exact = os.geteuid() == 0
        verify(partial / "rootfs", agent, manifest, recipe.excludes, ignore_ownership=not exact)
        record = _record(partial, agent, recipe, manifest, mode, exact)
        (partial / RECORD).write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        final = images / entry_name(record.digest)
        finish(partial, final)  # where the same digest was built before, the older one stays
        return load(final)


def _make_archive(archive: Path, agent: Path, recipe: Recipe, mode: str, tell: Progress) -> None:
    """Run mmdebstrap; see its manual for the modes and the hooks."""
    program = process.find_program("mmdebstrap")
    if program is None:
        raise ImageError("mmdebstrap is not installed", "apt-get install mmdebstrap")
    work = archive.parent / "work"
    work.mkdir()
    options = _apt_options(work / "apt.conf", apt_settings(), mode)
    argv = [program, *_arguments(archive, agent, options, recipe, mode)]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(recipe.epoch)}
    environment.pop("APT_CONFIG", None)
    if mode == "root":
        # What a killed build leaves lies in our partial folder. (An unshared mmdebstrap could
        # not reach a folder in a private home.)
        environment["TMPDIR"] = str(work)
        argv = [*_private_mounts(), *argv]
    _run_telling(argv, environment, tell)
    _add_mount_point(archive, "./dev", recipe.epoch)
    remove_tree(work)


def _apt_options(file: Path, settings: str, mode: str) -> list[str]:
    """The host's apt settings for mmdebstrap; they may hold a proxy's password.

    Root's mmdebstrap reads them from a file that nobody else can. An unshared one runs as
    another user, who could not reach a file in a private home, and gets them as words.
    """
    if mode != "root":
        return [line.strip().removesuffix(";") for line in settings.splitlines() if line.strip()]
    file.touch(mode=0o600)
    file.write_text(settings)
    return [str(file)]


def _private_mounts() -> list[str]:
    """What to put before mmdebstrap so that its mounts are nobody else's.

    As root it mounts /proc, /sys and /dev/* in the tree that it makes, and would leave them
    on the host if it were killed. In a mount namespace of its own they go with it, and it is
    told to end when we do. Where namespaces are forbidden, so are its mounts.
    """
    setpriv, unshare = process.find_program("setpriv"), process.find_program("unshare")
    if setpriv is None or unshare is None:
        raise ImageError("setpriv and unshare are not installed", "apt-get install util-linux")
    private = [unshare, "--mount", "--propagation", "private"]
    if process.run([*private, "true"], check=False).returncode != 0:
        return []
    return [setpriv, "--pdeathsig", "TERM", *private]


def _add_mount_point(archive: Path, name: str, epoch: int) -> None:
    """Append a directory: mmdebstrap leaves out /dev together with the devices in it."""
    with tarfile.open(archive, "a:") as tar:
        if name not in tar.getnames():
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, epoch
            tar.addfile(member)


def _arguments(
    archive: Path, agent: Path, apt_options: list[str], recipe: Recipe, mode: str
) -> list[str]:
    arguments = [
        "--format=tar",
        f"--mode={mode}",
        f"--variant={recipe.variant}",
        f"--architectures={recipe.architecture}",
        f"--components={recipe.components}",
        f"--include={','.join(recipe.packages)}",
        *(f"--aptopt={option}" for option in apt_options),
        "--skip=output/dev",  # devices cannot be unpacked by an ordinary user
        "--skip=cleanup/apt",  # it would make anew, under our umask, what the recipe removes
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.path_excludes),
        f'--customize-hook=mkdir -p "$1"{shlex.quote(str(Path(recipe.agent_path).parent))}',
        f"--customize-hook=upload {shlex.quote(str(agent))} {recipe.agent_path}",
        f'--customize-hook=chmod 755 "$1"{shlex.quote(recipe.agent_path)}',
        *(f"--customize-hook={command}" for command in recipe.customize),
    ]
    if DEBIAN_KEYRING.exists():
        arguments.append(f"--keyring={DEBIAN_KEYRING}")
    return [
        *arguments,
        recipe.suite,
        str(archive),
        *source_lines(recipe.suite, recipe.components),
    ]


def _run_telling(argv: list[str], environment: Mapping[str, str], tell: Progress) -> None:
    """Run a long program and pass its steps on, line by line, as it says them."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    said: list[str] = []
    try:
        child = process.spawn(argv, stdout=writer, stderr=writer, env=environment)
    finally:
        os.close(writer)
    with child, os.fdopen(reader, "rb", buffering=0) as pipe:
        try:
            for line in _lines(pipe.fileno(), Deadline(_BUILD_TIMEOUT_S)):
                said = [*said[-_TAIL_LINES:], line]
                if line.startswith("I: ") and not line.startswith("I: running --"):
                    tell(line[3:])
            status = child.wait(60)
        except BaseException:
            _ask_to_end(child)
            raise
    if status != 0:
        unknown = [line for line in said if "Unable to locate package" in line]
        if unknown:
            name = unknown[0].rpartition(" ")[2]
            raise ImageError(
                f"the image's distribution has no package {name}", f"apt-cache search {name}"
            )
        raise ImageError(
            f"mmdebstrap: exit status {status}: " + "\n".join(said),
            "see whether apt-get update works; ordinary users need uidmap and a /etc/subuid entry",
        )


def _ask_to_end(child: process.Process) -> None:
    """End mmdebstrap with all that it has started, as Ctrl-C in a terminal would.

    Nothing may still write when its folder is removed, so the rest of its process group is
    killed and waited for.
    """
    group = child.pid
    _signal_group(group, signal.SIGTERM)
    with suppress(TimeoutError):
        child.wait(10)
    deadline = Deadline(10)
    while _signal_group(group, signal.SIGKILL) and not deadline.over:
        with suppress(TimeoutError):
            child.wait(0.05)
        time.sleep(0.05)


def _signal_group(group: int, number: signal.Signals) -> bool:
    """False when nobody is left in the process group (or none that may be signalled)."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _lines(descriptor: int, deadline: Deadline) -> Iterator[str]:
    held = b""
    while True:
        if not select.select([descriptor], [], [], deadline.left_s())[0]:
            raise ImageError("the image was not built in time", "is the mirror reachable?")
        chunk = os.read(descriptor, 65536)
        *whole, held = (held + chunk).replace(b"\r", b"\n").split(b"\n")
        yield from (line.decode(errors="replace") for line in whole if line)
        if not chunk:
            if held:
                yield held.decode(errors="replace")
            return


def unpack(archive: Path, root: Path) -> None:
    """Unpack the archive with owners (if we are root), modes and setuid bits."""
    root.mkdir(mode=0o755)
    owner = "--same-owner" if os.geteuid() == 0 else "--no-same-owner"
    process.run(
        ["tar", "--extract", "--file", archive, "--directory", root,
         "--numeric-owner", "--preserve-permissions", owner],
        hint="is there room left, and does the cache lie on a Linux file system?",
    )  # fmt: skip


def derive_manifest(root: Path, agent: Path, excludes: tuple[str, ...]) -> bytes:
    """The manifest of a tree, as the agent sees it."""
    return process.run([agent, "--manifest", root, *excludes]).stdout


def verify(
    root: Path, agent: Path, expected: bytes, excludes: tuple[str, ...], *, ignore_ownership: bool
) -> None:
    """Raise ImageError, naming the first paths, if a tree is not what its manifest says."""
    try:
        found = derive_manifest(root, agent, excludes)
    except CommandFailed as error:
        raise ImageError(f"the agent cannot read {root}: {error.message}", error.hint) from error
    if found == expected:
        return
    if told := differences(expected, found, ignore_ownership):
        more = f" and {len(told) - 5} more" if len(told) > 5 else ""
        raise ImageError(
            f"{root} is not what its manifest says: {'; '.join(told[:5])}{more}",
            "tarebench image build --refresh",
        )


def verify_image(image: Image) -> None:
    """Derive the manifest of a stored image again; raise ImageError if anything changed."""
    manifest = image.manifest.read_bytes()
    if digest_of(manifest) != image.digest:
        raise ImageError(f"{image.manifest} was changed", "tarebench image build --refresh")
    record = read_record(image.directory)
    agent = image.root / record.recipe.agent_path.lstrip("/")
    exact = record.ownership == "exact"
    verify(image.root, agent, manifest, image.excludes, ignore_ownership=not exact)


def _record(
    partial: Path, agent: Path, recipe: Recipe, manifest: bytes, mode: str, exact: bool
) -> ImageRecord:
    agent_hash = sha256_of(agent)
    entries = parse_manifest(manifest)
    return ImageRecord(
        digest=digest_of(manifest),
        agent_sha256=agent_hash,
        recipe_hash=recipe_hash(recipe, agent_hash),
        recipe=recipe,
        excludes=recipe.excludes,
        ownership="exact" if exact else "unprivileged",
        mode=mode,
        built_utc=datetime.now(UTC).isoformat(timespec="seconds"),
        builder=_builder_version(),
        packages=_packages(partial / "rootfs.tar"),
        paths=len(entries),
        content_bytes=sum(entry.size for entry in entries.values()),
    )


def _builder_version() -> str:
    return process.run(["mmdebstrap", "--version"]).stdout.decode().strip()


def _packages(archive: Path) -> dict[str, str]:
    """The versions of the installed packages, from dpkg's database inside the archive."""
    with tarfile.open(archive, "r:") as tar:
        file = tar.extractfile("./var/lib/dpkg/status")
        assert file is not None
        text = file.read().decode(errors="replace")
    versions = {}
    for stanza in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if _is_field(line))
        if "Package" in fields:
            versions[fields["Package"]] = fields.get("Version", "")
    return versions


def _is_field(line: str) -> bool:
    return ": " in line and not line.startswith(" ")
