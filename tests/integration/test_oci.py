"""`oci,path=PROGRAM`: what is no OCI runtime is told, and starts nothing."""

from __future__ import annotations

import pytest

from harness import registry
from harness.errors import RuntimeUnavailable
from tests.lab import Lab

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("oci", "no OCI runtime was named"),
        ("oci,path=/nowhere/youki", "there is no program /nowhere/youki"),
        ("oci,path=/bin/false", "/bin/false did not tell its version"),
    ],
)
def test_what_is_no_oci_runtime_is_unavailable(lab: Lab, name: str, reason: str) -> None:
    with pytest.raises(RuntimeUnavailable) as caught:
        registry.create(name, lab.context).probe()
    assert reason in caught.value.message
    assert caught.value.hint
