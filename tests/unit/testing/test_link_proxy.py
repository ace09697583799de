"""The link proxy: what each mode does to connections, seen from both ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from govraft.cli.processes import python_command, start_process
from govraft.errors import AvailabilityError, InputError
from govraft.testing.link_control import LinkControl, link_name
from govraft.testing.link_proxy import RETRANSMISSION_S, Mode

AB, BA = link_name("a", "b"), link_name("b", "a")
QUIET_S = 0.15


class Rig:
    """A proxy process for the links between `a` and `b`; `b` listens here, `a` nowhere."""

    def __init__(self, directory: Path) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(5)
        target = f"127.0.0.1:{self.listener.getsockname()[1]}"
        (directory / "links.json").write_text(json.dumps({AB: target, BA: "127.0.0.1:1"}))
        self.control = LinkControl(directory / "links.sock")
        command = python_command(
            "govraft.testing.link_proxy", str(directory / "links.json"), str(directory / "links.sock")
        )
        self.process = start_process(
            command, log=directory / "links.log", record=directory / "links.pid", environment=os.environ
        )
        deadline = time.monotonic() + 10
        while not (directory / "links.sock").exists():
            assert not self.process.wait(0), (directory / "links.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.open: list[socket.socket] = [self.listener]

    def dial(self) -> socket.socket:
        dialler = socket.create_connection(("127.0.0.1", self.control.states()[AB].port), timeout=5)
        self.open.append(dialler)
        return dialler

    def accept(self) -> socket.socket:
        acceptor, _ = self.listener.accept()
        acceptor.settimeout(5)
        self.open.append(acceptor)
        return acceptor

    def pair(self) -> tuple[socket.socket, socket.socket]:
        dialler = self.dial()
        acceptor = self.accept()
        dialler.sendall(b"hello")
        assert receive(acceptor, 5) == b"hello"
        return dialler, acceptor


def receive(end: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (chunk := end.recv(count - len(data))):
        data += chunk
    return data


def is_quiet(end: socket.socket) -> bool:
    end.settimeout(QUIET_S)
    try:
        end.recv(1)
    except TimeoutError:
        return True
    finally:
        end.settimeout(5)
    return False


def is_over(end: socket.socket) -> bool:
    try:
        return end.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    rig = Rig(tmp_path_factory.mktemp("links"))
    try:
        yield rig
    finally:
        with rig.process as process:
            process.send(signal.SIGTERM)
            assert process.wait(10)
        rig.listener.close()


@pytest.fixture
def rig(started: Rig) -> Iterator[Rig]:
    started.control.heal()
    yield started
    for end in started.open[1:]:
        end.close()
    del started.open[1:]
    started.control.heal()
    # What was dialled and never accepted here must not reach the next test.
    started.listener.settimeout(0)
    try:
        while True:
            started.listener.accept()[0].close()
    except BlockingIOError:
        started.listener.settimeout(5)


def test_an_open_link_carries_both_directions_in_order(rig: Rig) -> None:
    dialler, acceptor = rig.pair()
    payload = os.urandom(1_000_000)
    acceptor.sendall(b"welcome")
    assert receive(dialler, 7) == b"welcome"
    dialler.settimeout(10)
    dialler.setblocking(True)
    sent, received = 0, b""
    while sent < len(payload):
        sent += dialler.send(payload[sent : sent + 65_536])
        received += receive(acceptor, sent - len(received))
    assert received == payload


@pytest.mark.parametrize("first", [0, 1])
def test_an_end_that_closes_closes_the_other(rig: Rig, first: int) -> None:
    ends = rig.pair()
    ends[first].close()
    assert is_over(ends[1 - first])


def test_a_cut_swallows_and_tells_nobody_until_healed(rig: Rig) -> None:
    dialler, acceptor = rig.pair()
    rig.control.cut("b")
    dialler.sendall(b"lost")
    acceptor.sendall(b"lost too")
    assert is_quiet(acceptor)
    assert is_quiet(dialler)
    rig.control.heal()
    # The stream has a hole: neither end may read on as if nothing had happened.
    assert is_over(dialler)
    assert is_over(acceptor)
    rig.pair()


def test_a_connection_that_lost_nothing_survives_a_cut(rig: Rig) -> None:
    dialler, acceptor = rig.pair()
    rig.control.cut("b")
    rig.control.heal("b")
    dialler.sendall(b"still here")
    assert receive(acceptor, 10) == b"still here"


def test_who_dials_into_a_cut_hears_nothing(rig: Rig) -> None:
    rig.control.cut("a")
    dialler = rig.dial()
    dialler.sendall(b"hello?")
    assert is_quiet(dialler)
    rig.listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        rig.listener.accept()
    rig.listener.settimeout(5)
    rig.control.heal()
    assert is_over(dialler)


def test_an_end_that_closes_during_a_cut_is_not_heard_of_before_healing(rig: Rig) -> None:
    dialler, acceptor = rig.pair()
    rig.control.cut("b")
    dialler.close()
    assert is_quiet(acceptor)
    rig.control.heal()
    assert is_over(acceptor)


def test_held_bytes_arrive_late_and_whole(rig: Rig) -> None:
    dialler, acceptor = rig.pair()
    rig.control.cut("b", Mode.HOLD)
    dialler.sendall(b"one ")
    assert is_quiet(acceptor)
    dialler.sendall(b"two")
    rig.control.heal("b")
    assert receive(acceptor, 7) == b"one two"


def test_half_open_resets_one_end_only(rig: Rig) -> None:
    dialler, acceptor = rig.pair()
    rig.control.cut("b", Mode.HALF_OPEN)
    assert is_over(acceptor)
    dialler.sendall(b"nobody is there")
    assert is_quiet(dialler)
    rig.control.heal()
    assert is_over(dialler)


def test_refuse_resets_what_is_open_and_what_is_new(rig: Rig) -> None:
    dialler, acceptor = rig.pair()
    rig.control.cut("b", Mode.REFUSE)
    assert is_over(dialler)
    assert is_over(acceptor)
    assert is_over(rig.dial())
    rig.control.heal()
    rig.pair()


def test_a_delay_delays_each_chunk_but_not_the_stream(rig: Rig) -> None:
    dialler, acceptor = rig.pair()
    rig.control.delay("b", 100)
    began = time.monotonic()
    for number in range(10):
        dialler.sendall(b"%d" % number)
    assert receive(acceptor, 1)
    assert time.monotonic() - began >= 0.1
    assert receive(acceptor, 9) == b"123456789"
    assert time.monotonic() - began < 0.9


def test_a_lossy_link_delivers_everything_in_order_and_late(rig: Rig) -> None:
    dialler, acceptor = rig.pair()
    states = rig.control.change([("a", "b")], Mode.OPEN, loss=0.5)
    assert (states[AB].loss, states[BA].loss) == (0.5, 0.0)
    began = time.monotonic()
    for number in range(10):
        dialler.sendall(b"%d" % number)
        time.sleep(0.01)
    acceptor.settimeout(30)
    assert receive(acceptor, 10) == b"0123456789"
    # Lost at least once, with a chance of all but one in a thousand; each time it costs a retransmission.
    assert time.monotonic() - began >= RETRANSMISSION_S


def test_no_loss_means_no_delay(rig: Rig) -> None:
    rig.control.change([("a", "b")], Mode.OPEN, loss=0.5)
    rig.control.heal()
    dialler, acceptor = rig.pair()
    began = time.monotonic()
    dialler.sendall(b"x")
    assert receive(acceptor, 1) == b"x"
    assert time.monotonic() - began < RETRANSMISSION_S


def test_one_direction_can_be_cut_alone(rig: Rig) -> None:
    states = rig.control.cut_link("b", "a")
    assert (states[BA].mode, states[AB].mode) == (Mode.CUT, Mode.OPEN)
    rig.pair()


def test_a_node_that_does_not_listen_looks_refused(rig: Rig) -> None:
    with socket.create_connection(("127.0.0.1", rig.control.states()[BA].port), timeout=5) as dialler:
        assert is_over(dialler)


def test_mistakes_are_refused_and_change_nothing(rig: Rig) -> None:
    before = rig.control.states()
    with pytest.raises(InputError, match="`c` has no links"):
        rig.control.cut("c")
    with pytest.raises(InputError, match="refused"):
        rig.control.cut_link("a", "c")
    with pytest.raises(InputError, match="delay_ms"):
        rig.control.delay("a", 60_001)
    for loss in (-0.1, 0.91, float("nan")):
        with pytest.raises(InputError, match="loss"):
            rig.control.change([("a", "b")], Mode.OPEN, loss=loss)
    with pytest.raises(InputError, match="refused"):
        rig.control.change([("a", "b"), ("a", "c")], Mode.CUT)
    assert rig.control.states() == before


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"links": 1}\n', b'{"links": {"a>b": {}}}\n', b"\xff\n"])
def test_what_is_not_understood_is_answered(rig: Rig, line: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(rig.control._path))
        connection.sendall(line)
        assert json.loads(connection.makefile("rb").readline())["ok"] is False
    assert rig.control.states()[AB].mode is Mode.OPEN


def test_only_the_owner_may_control(rig: Rig) -> None:
    assert rig.control._path.stat().st_mode & 0o777 == 0o600


def test_a_control_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(AvailabilityError, match=r"links\.sock"):
        LinkControl(tmp_path / "links.sock").states()
