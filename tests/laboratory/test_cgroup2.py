"""Profile cgroup2: systemd as PID 1, and control groups v2 with nothing beside them."""

from __future__ import annotations

import json

from harness.analysis.frames import load_run
from harness.analysis.timeseries import load
from harness.journal import records
from harness.model import MIB
from tests.laboratory.conftest import Lab, check_complete

CONTAINERS = ("runc", "crun", "bwrap", "lxc", "libvirt-lxc", "nspawn", "containerd", "docker",
              "podman", "runsc", "chroot", "spawn")  # fmt: skip


def test_it_is_what_it_says(lab: Lab) -> None:
    said = lab.run("tarebench", "doctor", "--json")
    assert said.status == 0, said.err
    found = json.loads(said.out)
    assert found["host"]["cgroup"] == "v2"
    ready = {state["name"] for state in found["runtimes"] if state["status"] == "ready"}
    assert set(CONTAINERS) <= ready, found["runtimes"]


def test_every_container_runtime_passes_the_contract(lab: Lab) -> None:
    lab.contract(" or ".join(CONTAINERS), "runc", "crun", "docker")


def test_the_ledger_and_the_sampler_have_their_figures(lab: Lab) -> None:
    said = lab.run(
        "tarebench", "run", "quick", "--repeat", "1", "--runtime", "class:container",
        "--set", "sampler.hz=2", "--set", "experiments.memory.instances=2",
    )  # fmt: skip
    assert said.status == 0, said.err
    run = lab.only_run()
    check_complete(run)
    memory = [record for record in records(run) if record.experiment == "memory"]
    named = {(record.runtime, sample.metric) for record in memory for sample in record.samples}
    for runtime in {record.runtime for record in memory}:
        assert (runtime, "memory.charged") in named
    assert load(load_run(run)) is not None
    proof = (run / "lab" / "proof.txt").read_text()
    assert "cgroup2" in proof
    assert "systemd" in proof


def test_a_container_is_checkpointed_and_goes_on(lab: Lab) -> None:
    """Debian's CRIU fits Debian's kernel; on a newer one its trial tells why it does not."""
    said = lab.run(
        "tarebench", "run", "lifecycle", "--runtime", "runc", "--repeat", "1",
        "--set", "warmup_blocks=0",
    )  # fmt: skip
    assert said.status == 0, said.err
    run = lab.only_run()
    check_complete(run)
    (life,) = [record for record in records(run) if record.experiment == "lifecycle"]
    assert life.conditions["checkpoint"] is None
    told = {sample.metric: sample.value for sample in life.samples}
    assert told["lifecycle.save_bytes"] > 32 * MIB
    assert told["lifecycle.restore"] > 0
