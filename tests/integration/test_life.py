"""Real boxes that stand still, go on, are saved and come back; nothing of them is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.experiments import lifecycle
from harness.lifecycle import Pauses, Saves
from harness.model import MIB
from harness.settings import Lifecycle
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration


def steps(lab: Lab, name: str) -> set[str]:
    runtime_or_skip(lab, name)
    found = lifecycle.measure(lab.bench(name), Lifecycle(touched="8 MiB", silence_s=0.05))
    assert found.identity.identical
    assert all(sample.value > 0 for sample in found.samples)
    return {sample.metric.removeprefix("lifecycle.") for sample in found.samples}


def test_bare_metal_is_only_started_and_stopped(lab: Lab) -> None:
    assert steps(lab, "bare") == {"ready", "stop"}


@pytest.mark.parametrize("name", ["crun", "runc"])
def test_a_container_is_paused_and_goes_on(lab: Lab, name: str) -> None:
    assert steps(lab, name) == {"ready", "stop", "pause", "resume"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docker", "podman", "runsc"])
def test_an_engines_container_is_paused_and_goes_on(lab: Lab, name: str) -> None:
    assert steps(lab, name) == {"ready", "stop", "pause", "resume"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qemu", "qemu,machine=microvm", "qemu,balloon=on"])
def test_a_machine_is_saved_and_comes_back(lab: Lab, name: str) -> None:
    assert steps(lab, name) == {
        "ready", "stop", "pause", "resume", "save", "save_bytes", "restore"
    }  # fmt: skip


@pytest.mark.slow
def test_a_machine_can_be_saved_again_and_is_gone_in_between(lab: Lab, tmp_path: Path) -> None:
    runtime_or_skip(lab, "qemu")
    with lab.instance("qemu") as box:
        assert isinstance(box, Pauses)
        assert isinstance(box, Saves)
        held = box.touch(8 * MIB)
        for number in range(2):
            (before,) = box.processes()
            box.save(tmp_path / "state")
            assert not Path(f"/proc/{before}").exists()
            box.restore(tmp_path / "state")
            assert box.processes() != (before,)
            assert box.touch(4096) == held + 4096 * (number + 1)
