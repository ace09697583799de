"""Probe, ack and lease: what nodes tell each other about the state they hold; epochs: what proves who may cosign.

Each is a canonical msgpack body inside a `Signed`: the body's exact bytes, the signer's node id and an Ed25519
signature over `govraft/<kind>/v1 ‖ 0x00 ‖ cluster digest ‖ body`. The kind keeps a probe from passing as an
ack, the cluster digest keeps both from passing in another cluster.

An ack names its probe by the digest of the probe's exact bytes. So the quorum that acks has signed the very
grants, sections, term and leader of that one probe; a leader cannot show two voters different probes and make
one lease of their acks.

Source: protocol, "The round".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from govraft.core.codec.canonical import pack, unpack
from govraft.core.codec.note import Checkpoint
from govraft.core.model import limits
from govraft.core.model.ids import NODE_ID_PATTERN
from govraft.core.model.units import WallMs
from govraft.errors import DecodeError

__all__ = [
    "EPOCHS_PER_MESSAGE",
    "NONCE_BYTES",
    "RELAYED_NONCE_BYTES",
    "Ack",
    "EpochRequest",
    "Epochs",
    "Kind",
    "Lease",
    "Probe",
    "ProvenChange",
    "Sign",
    "Signed",
    "decode_kind",
    "probe_digest",
    "sign",
]

NONCE_BYTES = 16
RELAYED_NONCE_BYTES = 32
"""Of a nonce that stands for the holders behind a relay. Nobody answers one yet; evidence may hold it."""
EPOCHS_PER_MESSAGE = 16
_HOLDERS_MAX = limits.VOTERS + limits.OBSERVERS
_NODE_ID = re.compile(NODE_ID_PATTERN)
_STATEMENTS: frozenset[str] = frozenset()
"""The keys of `Probe.more` that this version knows. Each belongs to a number of rules, and is used from that on."""

Sign = Callable[[bytes], bytes]
"""Signs a message with the node's Ed25519 key; gives 64 bytes."""


class Kind(StrEnum):
    """The messages."""

    PROBE = "probe"
    ACK = "ack"
    LEASE = "lease"
    EPOCHS = "epochs"
    EPOCH_REQUEST = "epoch_request"
    ACKED = "acked"
    ACKED_REQUEST = "acked_request"


class Signed(msgspec.Struct, frozen=True):
    """A body with its author. Nothing in `body` may be believed before the signature is verified."""

    kind: Kind
    signer: str
    signature: bytes
    body: bytes

    def message(self, cluster: bytes) -> bytes:
        """The bytes that the signature covers. `cluster` is the 32-byte cluster digest."""
        return _message(self.kind, cluster, self.body)

    def encode(self) -> bytes:
        """For the wire."""
        return pack({"b": self.body, "g": self.signature, "k": self.kind.value, "s": self.signer})

    @classmethod
    def decode(cls, data: bytes, kind: Kind) -> Signed:
        """Read a message that must be of `kind`.

        Raises:
            DecodeError: Anything else.
        """
        fields = _fields(data, {"b": bytes, "g": bytes, "k": str, "s": str}, "signed message")
        if fields["k"] != kind.value:
            raise DecodeError(f"expected a {kind.value}, got `{fields['k'][:32]}`")
        if len(fields["g"]) != 64:
            raise DecodeError("signed message has a signature of the wrong length")
        return cls(kind, fields["s"], fields["g"], fields["b"])


def decode_kind(data: bytes) -> Kind:
    """Tell which message `data` is, without believing anything of it.

    Raises:
        DecodeError: None of them.
    """
    value = _fields(data, {"b": bytes, "g": bytes, "k": str, "s": str}, "signed message")["k"]
    try:
        return Kind(value)
    except ValueError as error:
        raise DecodeError(f"unknown message kind `{value[:32]}`") from error


def sign(kind: Kind, body: bytes, *, signer: str, cluster: bytes, signing: Sign) -> Signed:
    """Sign a body as node `signer` of the cluster with that 32-byte digest."""
    return Signed(kind, signer, signing(_message(kind, cluster, body)), body)


def probe_digest(probe: Signed) -> bytes:
    """The name by which acks refer to a probe: 32 bytes over its exact body and author."""
    return hashlib.sha256(b"govraft/probe-digest/v1\0" + probe.encode()).digest()


class Probe(msgspec.Struct, frozen=True):
    """A self-styled leader asks: do you hold this state?

    Attributes:
        epoch: Of the electorate at `checkpoint.seq`.
        term: The Raft term in which the sender believes it leads.
        round: Counts the sender's probes.
        leader: The sender's node id.
        checkpoint: What it holds.
        sections: Digest of each section of the state at that seq.
        grants: For each holder heard from recently, the latest nonce it made.
        wall: The leader's wall clock when it signed. None in format 1, which only evidence of earlier versions has.
        more: Statements that later versions add, by name. None may change what a probe, an ack or a lease means, so
            whoever only verifies evidence may skip what it does not know.
    """

    epoch: int
    term: int
    round: int
    leader: str
    checkpoint: Checkpoint
    sections: dict[str, bytes]
    grants: dict[str, bytes]
    wall: WallMs | None = None
    more: dict[str, Any] = msgspec.field(default_factory=dict)

    def encode(self) -> bytes:
        fields = {
            "checkpoint": self.checkpoint.encode(),
            "epoch": self.epoch,
            "grants": self.grants,
            "leader": self.leader,
            "round": self.round,
            "sections": self.sections,
            "term": self.term,
        }
        return pack(fields if self.wall is None else fields | {"more": self.more, "wall": self.wall})

    @classmethod
    def decode(cls, body: bytes) -> Probe:
        """Raises: DecodeError."""
        shape: dict[str, type] = {
            "checkpoint": bytes,
            "epoch": int,
            "grants": dict,
            "leader": str,
            "round": int,
            "sections": dict,
            "term": int,
        }
        fields = _fields(body, shape, "probe", later={"more": dict, "wall": int})
        grants, sections, wall = fields["grants"], fields["sections"], fields.get("wall")
        sizes = (NONCE_BYTES,) if wall is None else (NONCE_BYTES, RELAYED_NONCE_BYTES)
        if len(grants) > _HOLDERS_MAX or not all(_is_bytes(nonce, *sizes) for nonce in grants.values()):
            raise DecodeError("probe has malformed grants")
        if len(sections) > 32 or not all(_is_bytes(value, 32) for value in sections.values()):
            raise DecodeError("probe has malformed sections")
        return cls(
            epoch=_natural(fields["epoch"], "epoch"),
            term=_natural(fields["term"], "term"),
            round=_natural(fields["round"], "round"),
            leader=fields["leader"],
            checkpoint=Checkpoint.decode(fields["checkpoint"]),
            sections=sections,
            grants=grants,
            wall=None if wall is None else WallMs(_natural(wall, "wall")),
            more=fields.get("more", {}),
        )

    @property
    def foreign(self) -> str:
        """Why no node of this version may answer it or use its lease; "" if it may.

        Evidence of it is judged all the same: a verifier of today can read what later versions sign.
        """
        if self.wall is None:
            return "it does not say its leader's wall clock, as probes of earlier versions"
        unknown = self.more.keys() - _STATEMENTS
        if unknown:
            return f"it says `{min(unknown)[:32]}`, which this version does not know"
        if any(len(nonce) != NONCE_BYTES for nonce in self.grants.values()):
            return "it grants to holders behind a relay, which this version does not know"
        return ""


class Ack(msgspec.Struct, frozen=True):
    """A node answers: I hold exactly that state, and have stopped serving every older one.

    Attributes:
        probe: Digest of the probe that is answered.
        round, seq, root: Of that probe.
        node: The answering node.
        nonce: Fresh; the next lease of this node counts from when it was made.
        outstanding: Holders to which this node granted, in earlier acks, a lease at a lower seq that may still run.
        time_s: Unix time of the cosignature.
        cosignature: C2SP cosignature over the checkpoint, 64 bytes.
    """

    probe: bytes
    round: int
    seq: int
    root: bytes
    node: str
    nonce: bytes
    outstanding: tuple[str, ...]
    time_s: int
    cosignature: bytes

    def encode(self) -> bytes:
        return pack(
            {
                "cosignature": self.cosignature,
                "node": self.node,
                "nonce": self.nonce,
                "outstanding": list(self.outstanding),
                "probe": self.probe,
                "root": self.root,
                "round": self.round,
                "seq": self.seq,
                "time_s": self.time_s,
            }
        )

    @classmethod
    def decode(cls, body: bytes) -> Ack:
        """Raises: DecodeError."""
        shape = {
            "cosignature": bytes,
            "node": str,
            "nonce": bytes,
            "outstanding": list,
            "probe": bytes,
            "root": bytes,
            "round": int,
            "seq": int,
            "time_s": int,
        }
        fields = _fields(body, shape, "ack")
        for name, size in (("cosignature", 64), ("nonce", NONCE_BYTES), ("probe", 32), ("root", 32)):
            if len(fields[name]) != size:
                raise DecodeError(f"ack has a `{name}` of the wrong length")
        outstanding = fields["outstanding"]
        # Ids only: acks travel inside leases, so one long-winded ack could make every lease too large to send.
        if len(outstanding) > _HOLDERS_MAX or not all(
            isinstance(item, str) and _NODE_ID.match(item) for item in outstanding
        ):
            raise DecodeError("ack has a malformed `outstanding`")
        for name in ("round", "seq", "time_s"):
            _natural(fields[name], name)
        fields["outstanding"] = tuple(outstanding)
        return cls(**fields)


class Lease(msgspec.Struct, frozen=True):
    """A completed round: the probe with its grants, the acks that carry it, and the quorum certificate.

    Attributes:
        probe: The signed probe.
        acks: Signed acks: of the probe's quorum, and of every holder that any of them lists as outstanding.
        note: The quorum certificate, a C2SP signed note over the probe's checkpoint.
    """

    probe: Signed
    acks: tuple[Signed, ...]
    note: bytes

    def encode(self) -> bytes:
        return pack({"acks": [ack.encode() for ack in self.acks], "note": self.note, "probe": self.probe.encode()})

    @classmethod
    def decode(cls, body: bytes) -> Lease:
        """Raises: DecodeError."""
        fields = _fields(body, {"acks": list, "note": bytes, "probe": bytes}, "lease")
        acks = fields["acks"]
        if len(acks) > _HOLDERS_MAX or not all(isinstance(item, bytes) for item in acks):
            raise DecodeError("lease has malformed acks")
        return cls(
            probe=Signed.decode(fields["probe"], Kind.PROBE),
            acks=tuple(Signed.decode(item, Kind.ACK) for item in acks),
            note=fields["note"],
        )


class ProvenChange(msgspec.Struct, frozen=True):
    """A certified change of the electorate, provable to whoever knows the electorate before it.

    Attributes:
        lease: The signed joint lease for exactly its seq, exact bytes.
        records: The records of the section `electorate` at that seq, canonical MessagePack.
        leaf: Of that seq.
        proof: Inclusion of that leaf in the lineage of that size, canonical MessagePack.
    """

    lease: bytes
    records: bytes
    leaf: bytes
    proof: bytes


class Epochs(msgspec.Struct, frozen=True):
    """Consecutive changes of the electorate, for whoever lacks them. Each proves itself.

    Attributes:
        first: Epoch of the first one.
        changes: 1 to `EPOCHS_PER_MESSAGE`.
    """

    first: int
    changes: tuple[ProvenChange, ...]

    def encode(self) -> bytes:
        changes = [[item.lease, item.records, item.leaf, item.proof] for item in self.changes]
        return pack({"changes": changes, "first": self.first})

    @classmethod
    def decode(cls, body: bytes) -> Epochs:
        """Raises: DecodeError."""
        fields = _fields(body, {"changes": list, "first": int}, "epochs")
        changes = fields["changes"]
        if not 1 <= len(changes) <= EPOCHS_PER_MESSAGE:
            raise DecodeError(f"epochs must have 1 to {EPOCHS_PER_MESSAGE} changes")
        for item in changes:
            if not isinstance(item, list) or len(item) != 4 or not all(isinstance(part, bytes) for part in item):
                raise DecodeError("epochs have a malformed change")
        return cls(_natural(fields["first"], "first"), tuple(ProvenChange(*item) for item in changes))


class EpochRequest(msgspec.Struct, frozen=True):
    """Asks for the change that began epoch `first`, and for those after it."""

    first: int

    def encode(self) -> bytes:
        return pack({"first": self.first})

    @classmethod
    def decode(cls, body: bytes) -> EpochRequest:
        """Raises: DecodeError."""
        return cls(_natural(_fields(body, {"first": int}, "epoch request")["first"], "first"))


def _message(kind: Kind, cluster: bytes, body: bytes) -> bytes:
    return b"govraft/%s/v1\0" % kind.value.encode() + cluster + body


def _fields(data: bytes, shape: dict[str, type], what: str, *, later: dict[str, type] | None = None) -> dict[str, Any]:
    """The fields of a body. A later format has all of `later` too, an earlier one none of them."""
    value = unpack(data, max_bytes=limits.FRAME_BYTES)
    if later is not None and isinstance(value, dict) and value.keys() & later.keys():
        shape = shape | later
    if not isinstance(value, dict) or value.keys() != shape.keys():
        raise DecodeError(f"{what} must have exactly the fields {', '.join(sorted(shape))}")
    for name, kind in shape.items():
        if type(value[name]) is not kind:
            raise DecodeError(f"{what} has a `{name}` of the wrong type")
    return value


def _natural(value: int, name: str) -> int:
    if not 0 <= value < 2**63:
        raise DecodeError(f"`{name}` must be from 0 to 2^63-1")
    return value


def _is_bytes(value: object, *sizes: int) -> bool:
    return isinstance(value, bytes) and len(value) in sizes
