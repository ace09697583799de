"""Receipts that can be kept and shown: that one command took effect, and since when nobody can have missed it.

    {"format": "govraft.receipt.v2", "cluster", "command_id", "outcome", "seq", "certified_seq", "leaf": base64,
     "proof": [base64], "lease": base64, "epochs": [link, …], "envelope": base64}

The leaf commits to the entry, and the entry is the envelope with a time stamp, so whoever holds envelope and leaf can
show that exactly this command is meant. The lease is the whole message with which the seq became certified. It carries
what a certificate alone does not: the acks, in which each voter of a quorum names the holders that it granted an older
state, and the acks of those holders. Each ack says: from now on this node serves nothing older.

So, counted by any clock that is within `clock_skew_max_ms` of the honest nodes' clocks:

- `nodes_until`: the end of the second of the latest ack, plus the skew. Later no honest node answered *allow* on a
  state without this command.
- `clients_until`: plus one lease. What was allowed before has run out by then, wherever it was kept.
- `permits_until`: `nodes_until` plus the longest life of a permit. Portable permits that were made before have run out.

Why: every quorum shares an honest voter with this one. Had a node a lease on an older state after all acks, that voter
would have granted it before its own ack, and would name the node as outstanding; then the lease message would hold that
node's own ack, by which it had stopped. It says nothing of a node that lies about its own clock or state: such a node
needs no lease to say *allow*, and cannot make a permit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import msgspec

from govraft.core.codec.base64_text import to_base64
from govraft.core.codec.complaints import in_words
from govraft.core.codec.envelope import decode_envelope
from govraft.core.convergence.certificate import VerifiedLease, verify_lease
from govraft.core.convergence.messages import Ack, Kind, Lease, Signed
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.crypto.keys import verify
from govraft.core.evidence.epochs import EpochHistory, decode_links, verify_epochs
from govraft.core.evidence.files import MALFORMED, parse_json, to_bytes, to_nodes
from govraft.core.evidence.trust_state import Shown
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.proofs import root_up_to, verify_inclusion
from govraft.core.machine.entry import encode_entry, entry_digest
from govraft.core.model.commands import command_name, decode_command
from govraft.core.model.genesis import Genesis
from govraft.core.model.limits import PERMIT_MS
from govraft.core.model.units import WallMs
from govraft.errors import InputError, LineageError, VerificationError

__all__ = ["RECEIPT_FORMAT", "ProvenReceipt", "encode_receipt_file", "prove_receipt"]

RECEIPT_FORMAT = "govraft.receipt.v2"

_STAMPS_TRIED_MS = 2_000
_TIME_MOST_MS = 253_402_300_799_999
"""The end of the year 9999: later times have no date, and no honest clock shows them."""


class _Answer(Protocol):
    """The fields of a receipt as the client library gives it."""

    @property
    def command_id(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def seq(self) -> int: ...
    @property
    def certified_seq(self) -> int: ...
    @property
    def leaf(self) -> bytes: ...
    @property
    def proof(self) -> list[bytes]: ...
    @property
    def lease(self) -> bytes: ...


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["govraft.receipt.v2"]
    cluster: str
    command_id: str
    outcome: str
    seq: int
    certified_seq: int
    leaf: str
    proof: list[str]
    lease: str
    epochs: list[dict[str, Any]]
    envelope: str


class ProvenReceipt(msgspec.Struct, frozen=True):
    """What a receipt proves.

    Attributes:
        certified_seq: The certified lineage that holds the leaf has so many leaves.
        root: Of that lineage, 32 bytes.
        voters: Ids of the voters whose acks carry the certificate, sorted.
        leaf: At `leaf.seq`, with its outcome.
        command: Name of the command.
        command_id: Its id.
        payload: Its fields.
        nodes_until: WallMs; later no honest node allowed anything on a state without this command.
        clients_until: WallMs; what was allowed before has run out by then.
        permits_until: WallMs; so have the portable permits that were made before.
        shown: Of the history, to be held against a trust state.
    """

    certified_seq: int
    root: bytes
    voters: tuple[str, ...]
    leaf: Leaf
    command: str
    command_id: str
    payload: dict[str, Any]
    nodes_until: int
    clients_until: int
    permits_until: int
    shown: Shown


def encode_receipt_file(
    receipt: _Answer, *, cluster: str, envelope: bytes, links: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The object of a receipt file.

    Args:
        receipt: As the node answered.
        cluster: Cluster id.
        envelope: Exact bytes that were submitted.
        links: From the genesis to the epoch of the certificate.
    """
    return {
        "format": RECEIPT_FORMAT,
        "cluster": cluster,
        "command_id": receipt.command_id,
        "outcome": receipt.outcome,
        "seq": receipt.seq,
        "certified_seq": receipt.certified_seq,
        "leaf": to_base64(receipt.leaf),
        "proof": [to_base64(node) for node in receipt.proof],
        "lease": to_base64(receipt.lease),
        "epochs": list(links),
        "envelope": to_base64(envelope),
    }


def prove_receipt(data: bytes, genesis: Genesis) -> ProvenReceipt:
    """Verify a receipt file against the genesis and nothing else.

    Args:
        data: The file; JSON in any layout.
        genesis: Trusted.

    Returns:
        Only what is proven; nothing is taken from the file unproven.

    Raises:
        VerificationError: Malformed, of another cluster, or it proves something else than it says.
    """
    try:
        file = msgspec.convert(parse_json(data), _File)
        leaf_bytes, envelope = to_bytes(file.leaf, what="leaf"), to_bytes(file.envelope, what="envelope")
        leaf = Leaf.decode(leaf_bytes)
        opened = decode_envelope(envelope)
        name = command_name(opened.payload_type)
        command = None if name is None else decode_command(name, opened.payload)
    except (msgspec.MsgspecError, ValueError, InputError) as error:
        raise VerificationError(f"not a receipt: {in_words(error)}", code=MALFORMED) from error
    if name is None or command is None:
        raise VerificationError("the receipt's envelope holds no command", code=MALFORMED)
    if file.cluster != genesis.cluster_id or command.cluster != genesis.cluster_id:
        raise VerificationError("the receipt is of another cluster", code="wrong_cluster")
    history = verify_epochs(genesis, decode_links(file.epochs))
    lease, until = _prove_lease(to_bytes(file.lease, what="lease"), genesis, history, file.certified_seq)
    checkpoint = lease.probe.checkpoint
    # SAFETY: test_receipt.py::test_a_leaf_that_is_not_certified_is_refused
    proof = to_nodes(file.proof, what="proof")
    verify_inclusion(leaf_bytes, leaf.seq - 1, checkpoint.seq, proof, checkpoint.root)
    said = (file.seq, file.outcome, file.certified_seq, file.command_id)
    if said != (leaf.seq, leaf.outcome, checkpoint.seq, command.command_id):
        raise LineageError("the receipt says something else than its leaf and certificate")
    if leaf.epoch != history.in_force(leaf.seq).epoch:
        raise LineageError(f"the receipt's leaf is of epoch {leaf.epoch}, another was in force at seq {leaf.seq}")
    # SAFETY: test_receipt.py::test_another_envelope_is_refused
    _bind(leaf, envelope)
    roots = {
        leaf.seq: root_up_to(leaf_bytes, leaf.seq - 1, checkpoint.seq, proof),
        checkpoint.seq: checkpoint.root,
    }
    return ProvenReceipt(
        certified_seq=checkpoint.seq,
        root=checkpoint.root,
        voters=tuple(sorted(lease.voters)),
        leaf=leaf,
        command=name,
        command_id=command.command_id,
        payload=msgspec.to_builtins(command),
        nodes_until=until,
        clients_until=until + genesis.lease_ms,
        permits_until=until + PERMIT_MS,
        shown=Shown(history, history.in_force(checkpoint.seq).epoch, checkpoint.seq, roots),
    )


def _prove_lease(data: bytes, genesis: Genesis, history: EpochHistory, seq: int) -> tuple[VerifiedLease, int]:
    """The lease, and the WallMs after which nobody in it served an older state."""
    try:
        signed = Signed.decode(data, Kind.LEASE)
    except InputError as error:
        raise VerificationError(f"not a receipt: {error}", code=MALFORMED) from error
    cluster = bytes.fromhex(genesis.cluster_id)
    # SAFETY: a certificate alone does not show that those with an older lease have stopped; the acks do
    # (test_receipt.py::test_a_silent_outstanding_holder_is_no_proof).
    lease = verify_lease(signed, history.judges(seq), genesis.origin, cluster, LeaseTiming.of(genesis), is_valid=verify)
    acks = [Ack.decode(item.body) for item in Lease.decode(signed.body).acks]
    # SAFETY: all acks, those of holders too, and to the end of their second
    # (test_receipt_times.py::test_the_latest_ack_decides).
    latest_s = max(ack.time_s for ack in acks)
    until = (latest_s + 1) * 1000 + genesis.clock_skew_max_ms
    if until + PERMIT_MS > _TIME_MOST_MS:
        raise VerificationError("an ack of the receipt is dated past the year 9999", code=MALFORMED)
    return lease, until


def _bind(leaf: Leaf, envelope: bytes) -> None:
    """Show that the leaf's entry holds this envelope.

    The entry's own time stamp is not in the leaf: the machine's time is, which equals it unless the proposer's clock
    was behind. So stamps are tried backwards from there, as far as clocks of one cluster may differ.
    """
    for stamp in range(leaf.time, max(0, leaf.time - _STAMPS_TRIED_MS), -1):
        if entry_digest(encode_entry(WallMs(stamp), envelope)) == leaf.entry_digest:
            return
    raise LineageError("the receipt's leaf is not shown to be that of its envelope")
