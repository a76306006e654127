"""The other way to an engine: the `docker` command that people type, one process a launch.

`docker run --detach` creates and starts in one command, so there is no mark `created`. What
it adds to the two calls over the API (a fork, an exec of a large program, a connection, one
more request for the versions) is the price of this path, and a row of its own. The command
gets an empty configuration, so that nobody's contexts, proxies or helpers are measured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.clock import Deadline
from harness.errors import LaunchFailed, RuntimeUnavailable
from harness.model import Mark, Marks
from harness.process import find_program, run, spawn
from runtimes.box import last_words

_TIMEOUT_S = 60.0


def require_command() -> str:
    """The path of the docker command. Raises RuntimeUnavailable where it is missing."""
    found = find_program("docker")
    if found is None:
        raise RuntimeUnavailable(
            "the docker command is not installed",
            "apt-get install docker-cli, or on Debian 12 docker.io",
        )
    return found


def command_version() -> str:
    """The version of the docker command, which need not be the engine's."""
    said = run([require_command(), "--version"]).stdout.decode().split()
    return said[2].rstrip(",") if len(said) > 2 else "unknown"


def run_by_command(
    host: str, settings: Path, config: Mapping[str, Any], name: str, marks: Marks
) -> None:
    """`docker run --detach` of a container that the API would be asked for with `config`.

    `settings` is an empty folder for the command's configuration. Stamps `request` and
    `started`. Raises LaunchFailed with the command's own words.
    """
    settings.mkdir(mode=0o700, exist_ok=True)
    argv = [require_command(), "--host", host, *run_arguments(config, name)]
    env = {"PATH": os.defpath, "HOME": str(settings), "DOCKER_CONFIG": str(settings)}
    with tempfile.TemporaryFile() as said:
        marks.stamp(Mark.REQUEST)
        with spawn(argv, stdout=said.fileno(), stderr=said.fileno(), env=env) as process:
            try:
                status = process.wait(Deadline(_TIMEOUT_S).left_s())
            except TimeoutError:
                raise LaunchFailed("docker run did not return") from None
            marks.stamp(Mark.STARTED)
        if status != 0:
            raise LaunchFailed(f"docker run: exit status {status}: {last_words(said)}")


def run_arguments(config: Mapping[str, Any], name: str) -> list[str]:
    """The body of a create call in the command's own options: a pure function."""
    host = config["HostConfig"]
    words = [
        "run", "--detach", "--name", name, "--network", host["NetworkMode"],
        "--hostname", config["Hostname"], "--user", config["User"],
        "--workdir", config["WorkingDir"], "--log-driver", host["LogConfig"]["Type"],
    ]  # fmt: skip
    words += [f"--label={key}={value}" for key, value in config["Labels"].items()]
    words += [f"--volume={bind}" for bind in host["Binds"]]
    words += [f"--tmpfs={path}:{options}" for path, options in host["Tmpfs"].items()]
    words += [f"--security-opt={option}" for option in host["SecurityOpt"]]
    if "Runtime" in host:
        words += ["--runtime", host["Runtime"]]
    if "Memory" in host:
        words += ["--memory", str(host["Memory"]), "--memory-swap", str(host["MemorySwap"])]
    if "NanoCpus" in host:
        words += ["--cpus", f"{host['NanoCpus'] / 1e9:g}"]
    if "PidsLimit" in host:
        words += ["--pids-limit", str(host["PidsLimit"])]
    program, *rest = config["Entrypoint"]
    return [*words, "--entrypoint", program, config["Image"], *rest]
