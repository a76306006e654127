"""The registry of a run's own, as a process: its address, its counts, and its end."""

from __future__ import annotations

import hashlib
import http.client
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import CommandFailed
from harness.inventory import Inventory
from harness.process import find_program
from runtimes import registry_server
from runtimes.registry_server import KIND, RegistryServer, cleaner, configuration

needs_it = pytest.mark.skipif(
    find_program(registry_server.PROGRAM) is None,
    reason=f"no {registry_server.PROGRAM}: {registry_server.INSTALL}",
)


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Inventory]:
    with Inventory("test", tmp_path / "inventories") as found:
        yield found


def send(address: str, method: str, path: str, body: bytes = b"") -> http.client.HTTPResponse:
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        return answer
    finally:
        connection.close()


@needs_it
def test_it_counts_what_it_holds_and_sends_and_leaves_nothing(
    inventory: Inventory, tmp_path: Path
) -> None:
    folder, blob = tmp_path / "registry", b"a layer" * 1000
    digest = hashlib.sha256(blob).hexdigest()
    with RegistryServer(inventory, folder) as server:
        assert [(each.kind, each.name) for each in inventory.entries()] == [(KIND, str(folder))]
        assert cleaner.exists(str(folder), {})
        assert server.address.startswith("127.0.0.1:")
        assert (server.held_bytes(), server.sent_bytes()) == (0, 0)
        place = send(server.address, "POST", "/v2/image/blobs/uploads/").headers["Location"]
        path = place.removeprefix(f"http://{server.address}")
        assert send(server.address, "PUT", f"{path}&digest=sha256:{digest}", blob).status == 201
        assert (server.held_bytes(), server.sent_bytes()) == (len(blob), 0)
        got = send(server.address, "GET", f"/v2/image/blobs/sha256:{digest}")
        assert got.status == 200
        assert send(server.address, "HEAD", f"/v2/image/blobs/sha256:{digest}").status == 200
        assert send(server.address, "GET", "/v2/image/manifests/none").status == 404
        assert server.sent_bytes() == len(blob)
    assert not folder.exists()
    assert not cleaner.exists(str(folder), {})
    assert inventory.entries() == []


@needs_it
def test_the_cleaner_ends_one_whose_run_is_dead(inventory: Inventory, tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    server = RegistryServer(inventory, folder).__enter__()
    try:
        cleaner.remove(str(folder), {})
        assert not cleaner.exists(str(folder), {})
        with pytest.raises(OSError, match=r"refused|reset"):
            send(server.address, "GET", "/v2/")
    finally:
        server.__exit__()


@needs_it
def test_one_that_does_not_start_says_why(
    inventory: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {**configuration(tmp_path), "http": {"addr": "192.0.2.1:5000"}}
    monkeypatch.setattr(registry_server, "configuration", lambda data: told)
    with (
        pytest.raises(CommandFailed, match=r"192\.0\.2\.1"),
        RegistryServer(inventory, tmp_path / "registry"),
    ):
        pass
    assert inventory.entries() == []


def test_one_that_is_not_installed_is_told_with_what_mends_it(
    inventory: Inventory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_server, "find_program", lambda name: None)
    with pytest.raises(CommandFailed) as told, RegistryServer(inventory, tmp_path / "registry"):
        pass
    assert told.value.hint == registry_server.INSTALL
    assert inventory.entries() == []
