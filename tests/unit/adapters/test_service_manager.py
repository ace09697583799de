"""What systemd hears, and when it hears nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from govraft.adapters.service_manager import ServiceManager


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(os.fspath(tmp_path / "notify"))
        listener.settimeout(20)
        yield listener


def environment(systemd: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": systemd.getsockname(), **more}


def heard(systemd: socket.socket) -> list[bytes]:
    """All that has come, without waiting."""
    found: list[bytes] = []
    systemd.setblocking(False)
    try:
        while True:
            found.append(systemd.recv(1000))
    except BlockingIOError:
        systemd.settimeout(20)
        return found


def test_a_state_is_told(systemd: socket.socket) -> None:
    ServiceManager(environment(systemd)).tell("READY=1")
    assert systemd.recv(1000) == b"READY=1"


def test_an_abstract_address_is_understood() -> None:
    name = f"govraft-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        listener.settimeout(20)
        ServiceManager({"NOTIFY_SOCKET": "@" + name}).tell("READY=1")
        assert listener.recv(1000) == b"READY=1"


@pytest.mark.parametrize("address", ["", "/does/not/exist", "x" * 500, "vsock:2:1"])
def test_nobody_who_listens_is_no_failure(address: str) -> None:
    ServiceManager({"NOTIFY_SOCKET": address}).tell("READY=1")


def test_a_systemd_that_does_not_read_holds_nobody_up(systemd: socket.socket) -> None:
    manager = ServiceManager(environment(systemd))
    for _ in range(5_000):
        manager.tell("WATCHDOG=1")
    assert heard(systemd)


def test_the_loop_says_that_it_turns(systemd: socket.socket) -> None:
    manager = ServiceManager(environment(systemd, WATCHDOG_USEC="100000", WATCHDOG_PID=str(os.getpid())))
    assert manager.watchdog_s == 0.1

    async def turn() -> None:
        manager.begin_watchdog()
        for _ in range(4):
            assert await asyncio.get_running_loop().run_in_executor(None, systemd.recv, 1000) == b"WATCHDOG=1"
        manager.end_watchdog()
        heard(systemd)
        await asyncio.sleep(0.3)
        assert heard(systemd) == []

    asyncio.run(turn())


def test_a_loop_that_hangs_says_nothing(systemd: socket.socket) -> None:
    manager = ServiceManager(environment(systemd, WATCHDOG_USEC="100000"))

    async def hang() -> None:
        manager.begin_watchdog()
        await asyncio.sleep(0)
        heard(systemd)
        time.sleep(0.5)  # noqa: ASYNC251 - that is what hanging is
        assert heard(systemd) == []
        manager.end_watchdog()

    asyncio.run(hang())


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "9" * 400},
        {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "me"},
    ],
)
def test_a_watchdog_for_nobody_or_for_another_process_is_not_fed(systemd: socket.socket, given: dict[str, str]) -> None:
    manager = ServiceManager(environment(systemd, **given))

    async def turn() -> None:
        manager.begin_watchdog()
        await asyncio.sleep(0.01)

    asyncio.run(turn())
    assert manager.watchdog_s is None
    assert heard(systemd) == []
