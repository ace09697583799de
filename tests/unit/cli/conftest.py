"""A cluster of one process: a real machine with real keys behind a real socket, certified by real signatures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from govraft.adapters.clocks import SystemClock
from govraft.api.peer_credentials import PeerRules
from govraft.cli.main import run
from govraft.core.codec.note import Checkpoint, Note, NoteSignature, cosignature_key_id, cosigned_message, format_note
from govraft.core.convergence.certificate import key_name
from govraft.core.machine.entry import encode_entry
from govraft.core.model.outcome import Rejected
from govraft.core.model.reasons import Reason
from govraft.core.model.request import Request
from govraft.core.model.units import WallMs
from govraft.core.model.verdict import Deny, Verdict
from govraft.errors import RejectedError
from govraft.node.attestation_reads import attestation_reads
from govraft.node.authority_reads import authority_reads
from govraft.node.world_reads import world_reads
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.node_stub import NodeStub, allow
from govraft.testing.sample import SampleCluster


class MachineNode:
    """Implements `api.Service` on a machine: every command is effective at once."""

    def __init__(self, sample: SampleCluster) -> None:
        self.sample = sample
        self.evidence = EvidenceSample(sample, quarantined=())
        self.machine = self.evidence.machine
        self.leaves, self.entries = self.evidence.leaves, self.evidence.entries
        self.waits: list[str] = []
        self.decide: Callable[[Request], Verdict] = lambda _: allow()

    def check(self, request: Request, *, at_least: int, explain: bool) -> Verdict:
        return self.decide(request)

    def holds(self, verdict: object) -> bool:
        return True

    async def submit(
        self, envelope: bytes, *, wait: str, timeout_s: float, retry: bool = False, at_least: int = 0
    ) -> dict[str, Any]:
        now = WallMs(time.time_ns() // 1_000_000)
        examined = self.machine.examine(envelope, now)
        if isinstance(examined, Rejected):
            raise RejectedError(examined.detail or examined.code, code=examined.code)
        self.waits.append(wait)
        entry = encode_entry(now, envelope)
        applied = self.machine.apply(entry)
        self.leaves.append(applied.leaf)
        self.entries.append(entry)
        receipt: dict[str, Any] = {"command_id": examined.command_id, "outcome": "applied", "seq": applied.seq}
        if applied.unchanged:
            receipt["unchanged"] = list(applied.unchanged)
        if wait == "effective":
            receipt |= {
                "certified_seq": applied.seq,
                "leaf": applied.leaf,
                "proof": self.machine.lineage.inclusion_proof(applied.seq - 1, applied.seq),
                "certificate": self.certificate(),
                "lease": self.evidence.lease(),
            }
        return receipt

    def certificate(self) -> bytes:
        origin = self.sample.genesis.origin
        body = Checkpoint(origin, self.machine.seq, self.machine.root).encode()
        signatures = []
        for node, key in list(self.sample.node_keys.items())[:2]:
            name, public = key_name(origin, node), key.public_key().public_bytes_raw()
            stamp = 1_700_000_000
            signature = key.sign(cosigned_message(body, stamp))
            signatures.append(NoteSignature(name, cosignature_key_id(name, public), stamp, signature))
        return format_note(Note(body, tuple(signatures)))

    def read(self, what: str, params: dict[str, Any]) -> object:
        own = getattr(self, f"read_{what}", None)
        if own is not None:
            return own(params)
        reads = {**authority_reads(self.machine), **world_reads(self.machine)}
        return reads[what](params)

    def read_status(self, _: dict[str, Any]) -> object:
        return {"node": "n1", "version": "0.1.0", "seq": self.machine.seq, "standing": "allow", "lease_ms": 900}

    def read_genesis(self, _: dict[str, Any]) -> object:
        return self.sample.genesis.encode()

    def read_epochs(self, _: dict[str, Any]) -> object:
        return {"epochs": [], "next": None}

    def read_epoch_links(self, _: dict[str, Any]) -> object:
        return []

    def read_proof(self, params: dict[str, Any]) -> object:
        lineage, newest = self.machine.lineage, self.machine.seq
        earlier = params.get("from", 0)
        return {
            "certified_seq": newest,
            "note": self.certificate(),
            "proof": lineage.inclusion_proof(params["seq"] - 1, newest),
            "from_root": lineage.root(earlier) if earlier else b"",
            "consistency": lineage.consistency_proof(earlier, newest) if earlier else [],
        }

    def read_certificate(self, _: dict[str, Any]) -> object:
        return {"seq": self.machine.seq, "note": self.certificate()}

    def read_members(self, _: dict[str, Any]) -> object:
        members = self.machine.electorate.members
        return [{"id": m.id, "voter": m.voter, "address": m.address, "public_key": m.public_key.hex()} for m in members]

    def read_entities(self, params: dict[str, Any]) -> object:
        # Pages of two, so that every reader has to ask again.
        return world_reads(self.machine)["entities"]({**params, "limit": 2})

    def read_marks(self, params: dict[str, Any]) -> object:
        # Pages of two, so that every reader has to ask again.
        return world_reads(self.machine)["marks"]({**params, "limit": 2})

    def read_signers(self, params: dict[str, Any]) -> object:
        return authority_reads(self.machine)["signers"](params)

    def read_attestation(self, params: dict[str, Any]) -> object:
        return attestation_reads(self.machine, SystemClock())["attestation"](params)

    def read_attestations(self, params: dict[str, Any]) -> object:
        # Pages of one, so that every reader has to ask again.
        return attestation_reads(self.machine, SystemClock())["attestations"]({**params, "limit": 1})

    def read_lineage(self, params: dict[str, Any]) -> object:
        # Pages of three, so that every reader has to ask again.
        start, end = params["from"] - 1, min(params["to"], params["from"] + 2)
        return {"leaves": self.leaves[start:end], "entries": self.entries[start:end]}

    async def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        yield {"event": "certified", "seq": self.machine.seq, "root": self.machine.root.hex()}
        yield {"event": "status", "node": "n1", "standing": "allow", "message": "\x1b[31mred"}


class Outcome(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


class Cluster:
    """A directory as `govraft init` makes it, a node behind a socket, and the command line."""

    def __init__(self, directory: Path, node: MachineNode, capture: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.node = node
        self._capture = capture

    def __call__(self, *arguments: object) -> Outcome:
        self._capture.readouterr()
        code = run([str(argument) for argument in arguments])
        return Outcome(code, *self._capture.readouterr())


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("GOVRAFT_ENDPOINT", "GOVRAFT_CLUSTER", "GOVRAFT_KEY_PASSPHRASE", "GOVRAFT_TRUSTED"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


@pytest.fixture
def sample() -> SampleCluster:
    return SampleCluster(policies_needed=2)


@pytest.fixture
def cluster(
    tmp_path: Path, sample: SampleCluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cluster]:
    directory = tmp_path / "c"
    (directory / "keys").mkdir(parents=True)
    (directory / "genesis.json").write_bytes(sample.genesis.encode())
    keys = []
    for authority in sample.genesis.authorities:
        path = directory / "keys" / f"{authority.id}.pem"
        private = sample.authority_keys[authority.id]
        path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        path.chmod(0o600)
        keys.append({"id": authority.id, "uri": f"file2:keys/{authority.id}.pem", "roles": list(authority.roles)})
    index = {
        "version": 1,
        "genesis": "genesis.json",
        "nodes": [{"id": "n1", "socket": "s", "config": "x"}],
        "keys": keys,
    }
    (directory / "cluster.json").write_text(json.dumps(index))
    monkeypatch.setenv("GOVRAFT_CLUSTER", str(directory))
    node = MachineNode(sample)
    with NodeStub(directory / "s", node, rules=PeerRules(frozenset({os.getuid()}))):
        yield Cluster(directory, node, capsys)


@pytest.fixture
def denying(cluster: Cluster) -> Callable[[Reason, int], None]:
    """Let the node deny everything, for a reason, on a seq."""

    def deny(reason: Reason, seq: int = 5) -> None:
        cluster.node.decide = lambda _: Deny(reason, "because", seq=seq, node="n1")

    return deny
