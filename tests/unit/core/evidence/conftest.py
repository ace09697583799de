"""A short certified history, with the keys to forge it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from govraft.core.codec.note import Checkpoint, Note, NoteSignature, cosignature_key_id, cosigned_message, format_note
from govraft.core.convergence.certificate import key_name
from govraft.core.machine.entry import encode_entry
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import Quarantine, TargetKind
from govraft.core.model.units import WallMs
from govraft.testing.sample import CREATED, SampleCluster


class History:
    """Seq 2 to 5 quarantine four subjects; seq 6 is rejected."""

    def __init__(self) -> None:
        self.sample = SampleCluster()
        self.machine = Machine(self.sample.genesis)
        self.leaves = [self.machine.genesis_leaf]
        self.entries: list[bytes | None] = [None]
        self.envelopes: list[bytes] = [b""]
        for number in (1, 2, 3, 4, 4):
            self.add(number, CREATED + 1_000 * len(self.leaves))

    def add(self, number: int, stamp: int) -> None:
        target = f'Agent::"{number}"'
        command = Quarantine(**self.sample.header(), kind=TargetKind.SUBJECT, id=target, reason="x")  # type: ignore[arg-type]
        envelope = self.sample.sign(command, "olga")
        entry = encode_entry(WallMs(stamp), envelope)
        self.leaves.append(self.machine.apply(entry).leaf)
        self.entries.append(entry)
        self.envelopes.append(envelope)

    def certify(self, seq: int, root: bytes, signers: int = 2, origin: str | None = None) -> bytes:
        origin = origin or self.sample.genesis.origin
        body = Checkpoint(origin, seq, root).encode()
        signatures = []
        for node, key in list(self.sample.node_keys.items())[:signers]:
            name, public = key_name(origin, node), key.public_key().public_bytes_raw()
            signature = key.sign(cosigned_message(body, 7))
            signatures.append(NoteSignature(name, cosignature_key_id(name, public), 7, signature))
        return format_note(Note(body, tuple(signatures)))


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def make_history() -> Callable[[], History]:
    return History
