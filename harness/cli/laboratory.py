"""Commands of the lab: a machine in software with virtualization extensions, on any host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.terminal_io import app, say
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.lab.running import Wish

lab_app = typer.Typer(
    help="A whole machine in software, in which KVM, Xen, systemd and pure control groups v2 "
    "really run. What is timed in it says nothing about hardware.",
    no_args_is_help=True, rich_markup_mode=None,
)  # fmt: skip
app.add_typer(lab_app, name="lab")

ProfileName = Annotated[
    str,
    typer.Option(
        "--profile", help="kvm, cgroup2, fresh, fresh13, ubuntulike or xen (docs/lab.md)."
    ),
]
Memory = Annotated[int | None, typer.Option(help="MiB of memory, instead of the profile's.")]
Keep = Annotated[
    Path | None,
    typer.Option(
        help="Keep what the machine writes in this disk, and boot from it again the next time.",
        dir_okay=False,
    ),
]
BootLimit = Annotated[str, typer.Option(help="When a boot is given up: 90s, 10m.")]


def _wish(profile: str, memory: int | None, keep: Path | None, boot_limit: str) -> Wish:
    from harness.lab.recipe import find_profile
    from harness.lab.running import Wish
    from harness.model import MIB
    from harness.stopping import parse_duration

    found = find_profile(profile)
    size = found.memory_bytes if memory is None else memory * MIB
    if size < found.least_bytes:
        raise UsageError(
            f"{memory} MiB are too few for the lab {profile}", f"{found.least_bytes // MIB} or more"
        )
    return Wish(found, size, keep, parse_duration(boot_limit), say)


@lab_app.command("build")
def build_lab(
    profile: ProfileName = "kvm",
    memory: Memory = None,
    boot_limit: BootLimit = "10m",
) -> None:
    """Build a profile's disk unless it is there, and boot it once; as root.

    Later uses go on from the machine's state after that boot, which takes seconds.
    """
    from harness.lab.running import session

    with session(_wish(profile, memory, None, boot_limit)) as opened:
        typer.echo(opened.built.directory)


@lab_app.command("run", context_settings={"allow_interspersed_args": False})
def run_in_lab(
    command: Annotated[list[str], typer.Argument(help="The command, after `--`.")],
    profile: ProfileName = "kvm",
    memory: Memory = None,
    keep: Keep = None,
    limit: Annotated[str, typer.Option(help="When the command is given up: 30m, 2h.")] = "2h",
    boot_limit: BootLimit = "10m",
) -> None:
    """Run a command in the checkout inside a fresh machine; its status is the command's.

    Its output is streamed, and the runs that it made are brought back to results/runs, each
    with its report and a folder `lab` that holds what proves where it ran.
    """
    from harness.lab.running import run
    from harness.stopping import parse_duration

    wish = _wish(profile, memory, keep, boot_limit)
    raise typer.Exit(run(wish, command, parse_duration(limit)))


@lab_app.command("shell")
def shell_in_lab(
    profile: ProfileName = "kvm",
    memory: Memory = None,
    keep: Keep = None,
    boot_limit: BootLimit = "10m",
) -> None:
    """A shell in the checkout inside a fresh machine."""
    from harness.lab.running import session

    with session(_wish(profile, memory, keep, boot_limit)) as opened:
        status = opened.shell()
    raise typer.Exit(status)
