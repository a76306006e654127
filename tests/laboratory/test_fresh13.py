"""Profile fresh13: the same on Debian 13, with its kernel, libvirt and podman."""

from __future__ import annotations

from tests.laboratory.test_fresh import test_the_two_commands_do_everything

__all__ = ["test_the_two_commands_do_everything"]
