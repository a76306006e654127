"""A root filesystem of two static programs, made in a second, for tests that start real boxes.

It is an image like any other to a runtime: a tree, a tar and a digest. `tool` echoes,
allocates and counts, so that limits can be tried without a whole distribution.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

from harness.image.agent import build_agent
from harness.model import AGENT_PATH, Image
from harness.process import run

EXCLUDES = (
    "/proc", "/sys", "/dev", "/run", "/tmp", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf",
    "/etc/mtab", "/.dockerenv",
)  # fmt: skip

_TOOL = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "echo"))
        return puts(argv[2]) < 0;
    if (argc == 3 && !strcmp(argv[1], "hog")) {   /* allocate and touch MiB */
        size_t bytes = strtoul(argv[2], 0, 10) << 20;
        char *memory = malloc(bytes);
        if (!memory)
            return 3;
        for (size_t at = 0; at < bytes; at += 4096)
            memory[at] = 1;
        return puts("held") < 0;
    }
    if (argc == 3 && !strcmp(argv[1], "forks")) { /* how many children fit */
        int made = 0;
        for (; made < atoi(argv[2]); made++) {
            pid_t child = fork();
            if (child < 0)
                break;
            if (!child) {
                pause();
                _exit(0);
            }
        }
        printf("%d\n", made);
        return 0;
    }
    return 2;
}
"""


def tiny_image(folder: Path) -> Image:
    """Make the image below a folder; the agent is compiled once and kept beside it."""
    root = folder / "rootfs"
    for name in ("etc", "proc", "sys", "dev", "run", "tmp", "usr/bin", "usr/lib/tarebench"):
        (root / name).mkdir(parents=True)
    agent = root / AGENT_PATH.lstrip("/")
    shutil.copy2(build_agent(folder / "cache"), agent)
    source = folder / "tool.c"
    source.write_text(_TOOL)
    run(["cc", "-O1", "-static", "-o", root / "usr/bin/tool", source])
    with tarfile.open(folder / "rootfs.tar", "w") as tar:
        tar.add(root, ".")
    for path in (folder, *folder.parents):
        if path == folder or path.name.startswith("pytest-"):
            path.chmod(0o755)  # jobs run as an ordinary user and must reach their files
    digest = hashlib.sha256((folder / "rootfs.tar").read_bytes()).hexdigest()
    sha256 = hashlib.sha256(agent.read_bytes()).hexdigest()
    return Image(f"sha256:{digest}", folder, sha256, EXCLUDES)
