"""Bytes of clients and nodes of both protocols, as recorded: each end still understands them, and still sends them."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from govraft import AsyncClient, Client
from govraft.api import calls
from govraft.api.peer_credentials import PeerRules
from govraft.api.wire import FrameReader, Receipt, frame
from govraft.client import greeting, questions
from govraft.client.verdicts import Allow
from govraft.core.model.verdict import Allow as Allowed
from govraft.testing.node_stub import NodeStub, StubService

CHECK_CALL = bytes.fromhex(
    "85a26f70a5636865636ba2696402a77265717565737484a97072696e636970616ca170a6616374696f6ea161a87265736f75726365a172"
    "a7636f6e7465787481a16b01a861745f6c6561737404a76578706c61696ec2"
)
CHECK_ANSWER = bytes.fromhex(
    "84a2696402a6726573756c7487a776657264696374a5616c6c6f77a373657105aa73746174655f726f6f74d94061626162616261626162"
    "616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162616261626162ab"
    "76616c69645f756e74696ccf0000010000000000a8706f6c696369657391a170a86465636973696f6ea164a46e6f6465a16ea772657175"
    "657374c42037f4f85ec90328e9f6b89e037f475edbc07d0eaf2a831acc2e99dbf05560b1cfa26f6bc3"
)
SUBMIT_CALL = bytes.fromhex(
    "86a2696403a26f70a67375626d6974a8656e76656c6f7065c4027b7daa74696d656f75745f6d73cd07d0a477616974a965666665637469"
    "7665a57265747279c2"
)
SUBMIT_ANSWER = bytes.fromhex(
    "84a2696403a6726573756c7488aa636f6d6d616e645f6964a473747562a76f7574636f6d65a76170706c696564a373657102ad63657274"
    "69666965645f73657102a46c656166c400a570726f6f6690ab6365727469666963617465c40473747562a56c65617365c400a772657175"
    "657374c4209d8b3a4d7a578d6d6ab093984fe21ca982bfc5fe8d12ff1a5284be4311a565d2a26f6bc3"
)
READ_CALL = bytes.fromhex("84a26f70a472656164a2696405a477686174a6737461747573a6706172616d7380")
READ_ANSWER = bytes.fromhex(
    "84a2696405a6726573756c7482a477686174a6737461747573a6706172616d7380a772657175657374c400a26f6bc3"
)
FIRST_HELLO = bytes.fromhex("82a26f70a568656c6c6fa2696401")
FIRST_HELLO_ANSWER = bytes.fromhex(
    "84a2696401a6726573756c7483a870726f746f636f6c01a46e6f6465a473747562a7636c7573746572d940303030303030303030303030"
    "30303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030a77265"
    "7175657374c400a26f6bc3"
)
SECOND_HELLO = bytes.fromhex("83a26f70a568656c6c6fa2696401a970726f746f636f6c73920102")
REFUSED_BY_THE_FIRST = bytes.fromhex(
    "83a2696401a56572726f7284a4636f6465a96d616c666f726d6564a76d657373616765d9396d616c666f726d65642063616c6c3a204f62"
    "6a65637420636f6e7461696e7320756e6b6e6f776e206669656c64206070726f746f636f6c7360a8646566696e697465c3a46b696e64a5"
    "696e707574a26f6bc2"
)
SECOND_HELLO_ANSWER = bytes.fromhex(
    "84a2696401a6726573756c7486a870726f746f636f6c02a46e6f6465a473747562a7636c7573746572d940303030303030303030303030"
    "30303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030303030a86665"
    "61747572657390a7626f6f745f6964d92430313233343536372d383961622d346364652d386630312d323334353637383961626364a774"
    "696d655f6e73cf000000ffc4653600a772657175657374c400a26f6bc3"
)
BOOT_ID, RECORDED_AT, VALID_UNTIL = "01234567-89ab-4cde-8f01-23456789abcd", (1 << 40) - 10**9, 1 << 40

OLD_NODE = ([SECOND_HELLO, FIRST_HELLO], [REFUSED_BY_THE_FIRST, FIRST_HELLO_ANSWER])
NEW_NODE = ([SECOND_HELLO], [SECOND_HELLO_ANSWER])


@pytest.fixture
def _at_the_time_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (calls, greeting):
        monkeypatch.setattr(module, "read_boot_id", lambda: BOOT_ID)
        monkeypatch.setattr(module, "read_boottime", lambda: RECORDED_AT)
    monkeypatch.setattr(questions, "now_ns", lambda: RECORDED_AT)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeStub]:
    verdict = Allowed(5, "ab" * 32, VALID_UNTIL, ["p"], "d", "n")
    with NodeStub(tmp_path / "s", StubService(lambda _: verdict), rules=PeerRules(frozenset({os.getuid()}))) as stub:
        yield stub


@pytest.mark.usefixtures("_at_the_time_of_the_recording")
@pytest.mark.parametrize(
    ("hello", "answer"), [(FIRST_HELLO, FIRST_HELLO_ANSWER), (SECOND_HELLO, SECOND_HELLO_ANSWER)], ids=["1", "2"]
)
def test_a_recorded_client_gets_the_recorded_answers(node: NodeStub, hello: bytes, answer: bytes) -> None:
    """A client of either protocol, against the node of today: the answers are the same, byte for byte."""
    exchanges = ((hello, answer), (CHECK_CALL, CHECK_ANSWER), (SUBMIT_CALL, SUBMIT_ANSWER), (READ_CALL, READ_ANSWER))
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(node.endpoint.removeprefix("unix://"))
        reader = FrameReader(1 << 20)
        for call, expected in exchanges:
            peer.sendall(frame(call))
            while (payload := reader.next_frame()) is None:
                reader.feed(peer.recv(65_536))
            assert payload == expected


class RecordedNode:
    """Answers what it was recorded to be asked, and nothing else."""

    def __init__(self, path: Path, greetings: tuple[list[bytes], list[bytes]]) -> None:
        self.endpoint = f"unix://{path}"
        self.asked: list[bytes] = []
        self._answers = dict(zip(*greetings, strict=True)) | {
            _nameless(CHECK_CALL): CHECK_ANSWER,
            _nameless(SUBMIT_CALL): SUBMIT_ANSWER,
            _nameless(READ_CALL): READ_ANSWER,
        }
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        reader = FrameReader(1 << 20)
        with connection:
            while data := connection.recv(65_536):
                reader.feed(data)
                while (payload := reader.next_frame()) is not None:
                    self.asked.append(payload)
                    reply = self._answers.get(_nameless(payload))
                    if reply is None:
                        return
                    connection.sendall(frame(_named(reply, _id_in(payload))))


def _id_in(payload: bytes) -> int:
    return payload[payload.index(b"\xa2id") + 3]


def _named(payload: bytes, call_id: int) -> bytes:
    at = payload.index(b"\xa2id") + 3
    return payload[:at] + bytes([call_id]) + payload[at + 1 :]


def _nameless(payload: bytes) -> bytes:
    """Under the id 1: a client numbers its calls as they come."""
    return _named(payload, 1)


def _ask_blocking(endpoint: str) -> list[Any]:
    with Client(endpoint, timeout=2.0) as client:
        return [
            client.check("p", "a", "r", {"k": 1}, at_least=4),
            client.submit(b"{}", timeout=2.0),
            client.status(),
        ]


async def _ask(endpoint: str) -> list[Any]:
    async with AsyncClient(endpoint, timeout=2.0) as client:
        return [
            await client.check("p", "a", "r", {"k": 1}, at_least=4),
            await client.submit(b"{}", timeout=2.0),
            await client.status(),
        ]


@pytest.mark.usefixtures("_at_the_time_of_the_recording")
@pytest.mark.parametrize("ask", [_ask_blocking, lambda endpoint: asyncio.run(_ask(endpoint))], ids=["sync", "async"])
@pytest.mark.parametrize("greetings", [OLD_NODE, NEW_NODE], ids=["1", "2"])
def test_a_recorded_node_is_understood_and_asked_nothing_new(
    tmp_path: Path, greetings: tuple[list[bytes], list[bytes]], ask: Any
) -> None:
    """The client of today, against a node of either protocol: it is asked in exactly the bytes that it knows."""
    node = RecordedNode(tmp_path / "s", greetings)
    try:
        verdict, receipt, status = ask(node.endpoint)
    finally:
        node.close()
    assert isinstance(verdict, Allow), verdict
    assert (verdict.seq, verdict.valid_until) == (5, VALID_UNTIL)
    assert isinstance(receipt, Receipt)
    assert (receipt.outcome, receipt.certified_seq) == ("applied", 2)
    assert status == {"what": "status", "params": {}}
    greeted = [_nameless(payload) for payload in greetings[0]]
    assert [_nameless(payload) for payload in node.asked[: len(greeted)]] == greeted
    asked = {_nameless(payload) for payload in node.asked} - set(greeted)
    assert asked == {_nameless(payload) for payload in (CHECK_CALL, SUBMIT_CALL, READ_CALL)}
