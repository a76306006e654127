"""Profile ubuntulike: the same where apt, its sources and keys, sudo and the kernel's file are as
Ubuntu has them, as far as Debian's packages go."""

from __future__ import annotations

from tests.laboratory.test_fresh import test_the_two_commands_do_everything

__all__ = ["test_the_two_commands_do_everything"]
