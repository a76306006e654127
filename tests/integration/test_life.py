"""Real boxes that stand still, go on, are saved and come back; nothing of them is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.experiments import lifecycle
from harness.experiments.bench import Measurement
from harness.lifecycle import NotCheckpointed, Pauses, Saves
from harness.model import MIB
from harness.probes import criu
from harness.settings import Lifecycle
from runtimes.oci import Runc
from tests.conftest import runtime_or_skip
from tests.lab import READY_TIMEOUT_S, Lab

pytestmark = pytest.mark.integration


PAUSED = {"ready", "stop", "pause", "resume"}
SAVED = {"save", "save_bytes", "restore"}


def led(lab: Lab, name: str) -> Measurement:
    """A box of this runtime, through all that can be done with it."""
    runtime_or_skip(lab, name)
    found = lifecycle.measure(lab.bench(name), Lifecycle(touched="8 MiB", silence_s=0.05))
    assert found.identity.identical
    assert all(sample.value > 0 for sample in found.samples)
    return found


def steps(found: Measurement) -> set[str]:
    return {sample.metric.removeprefix("lifecycle.") for sample in found.samples}


def on_inventory(lab: Lab) -> set[tuple[str, str]]:
    return {(entry.kind, entry.name) for entry in lab.inventory_entries()}


def test_bare_metal_is_only_started_and_stopped(lab: Lab) -> None:
    assert steps(led(lab, "bare")) == {"ready", "stop"}


@pytest.mark.parametrize("name", ["crun", "runc"])
def test_a_container_is_paused_and_saved_or_it_is_said_why_not(lab: Lab, name: str) -> None:
    there, listed = criu.CACHE.exists(), on_inventory(lab)
    found = led(lab, name)
    why = found.conditions["checkpoint"]
    assert steps(found) == PAUSED | (SAVED if why is None else set())
    assert why is None or "criu" in str(why).lower()
    assert found.conditions.get("touched_bytes") == (8 * MIB if why is None else None)
    assert criu.CACHE.exists() == there
    assert on_inventory(lab) == listed


def test_a_checkpoint_that_fails_leaves_the_container_to_be_removed(lab: Lab) -> None:
    """CRIU or not: the program of the OCI runtime is told to save to where nothing can be."""
    oci = runtime_or_skip(lab, "runc")
    assert isinstance(oci, Runc)
    bench = lab.bench("runc")
    with bench.spec(READY_TIMEOUT_S) as spec:
        with oci.asked(spec) as container:
            assert container.touch(MIB) == MIB
            assert bench.prove(container, *container.programs).identical
            with pytest.raises(NotCheckpointed):
                container.save(Path("/dev/null/nowhere"))
            assert container.touch(1) == MIB + 1
            pid = container._init.pid
        assert not Path(f"/proc/{pid}").exists()
        assert not list(oci._state.glob(f"{spec.name}*"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docker", "podman", "runsc"])
def test_an_engines_container_is_paused_and_goes_on(lab: Lab, name: str) -> None:
    assert steps(led(lab, name)) == PAUSED


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qemu", "qemu,machine=microvm", "qemu,balloon=on"])
def test_a_machine_is_saved_and_comes_back(lab: Lab, name: str) -> None:
    assert steps(led(lab, name)) == PAUSED | SAVED


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
