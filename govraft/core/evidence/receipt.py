"""Receipts that can be kept and shown: the proof that one command has its place in the certified lineage.

A receipt file is a JSON object: what the node answered (the leaf, its inclusion proof, the certificate) and the
envelope that was submitted. The leaf commits to the entry, and the entry is the envelope with a time stamp, so whoever
holds envelope and leaf can show that exactly this command is meant.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal, Protocol

import msgspec

from govraft.core.codec.envelope import decode_envelope
from govraft.core.evidence.certificate import ProvenCheckpoint, prove_checkpoint
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.proofs import verify_inclusion
from govraft.core.machine.entry import encode_entry, entry_digest
from govraft.core.model.commands import command_name, decode_command
from govraft.core.model.genesis import FIRST_EPOCH, Genesis
from govraft.core.model.units import WallMs
from govraft.errors import InputError, LineageError, VerificationError

__all__ = ["RECEIPT_FORMAT", "ProvenReceipt", "encode_receipt_file", "prove_receipt"]

RECEIPT_FORMAT = "govraft.receipt.v1"

_STAMPS_TRIED_MS = 2_000


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
    def certificate(self) -> bytes: ...


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["govraft.receipt.v1"]
    cluster: str
    command_id: str
    outcome: str
    seq: int
    certified_seq: int
    leaf: str
    proof: list[str]
    certificate: str
    envelope: str


class ProvenReceipt(msgspec.Struct, frozen=True):
    """What a receipt proves.

    Attributes:
        checkpoint: The certified lineage that holds the leaf.
        leaf: At `leaf.seq`, with its outcome.
        command: Name of the command.
        command_id: Its id.
        payload: Its fields.
    """

    checkpoint: ProvenCheckpoint
    leaf: Leaf
    command: str
    command_id: str
    payload: dict[str, Any]


def encode_receipt_file(receipt: _Answer, *, cluster: str, envelope: bytes) -> dict[str, Any]:
    """The object of a receipt file.

    Args:
        receipt: As the node answered.
        cluster: Cluster id.
        envelope: Exact bytes that were submitted.
    """
    return {
        "format": RECEIPT_FORMAT,
        "cluster": cluster,
        "command_id": receipt.command_id,
        "outcome": receipt.outcome,
        "seq": receipt.seq,
        "certified_seq": receipt.certified_seq,
        "leaf": _text(receipt.leaf),
        "proof": [_text(node) for node in receipt.proof],
        "certificate": receipt.certificate.decode("utf-8", "replace"),
        "envelope": _text(envelope),
    }


def prove_receipt(data: bytes, genesis: Genesis) -> ProvenReceipt:
    """Verify a receipt file against the genesis and nothing else.

    Args:
        data: The file.
        genesis: Trusted.

    Returns:
        Only what is proven; nothing is taken from the file unproven.

    Raises:
        VerificationError: Malformed, of another cluster, or it proves something else than it says.
    """
    try:
        file = msgspec.json.decode(data, type=_File)
        leaf_bytes, envelope = _bytes(file.leaf), _bytes(file.envelope)
        proof = [_bytes(node) for node in file.proof]
        leaf = Leaf.decode(leaf_bytes)
        opened = decode_envelope(envelope)
        name = command_name(opened.payload_type)
        command = None if name is None else decode_command(name, opened.payload)
    except (msgspec.MsgspecError, ValueError, RecursionError, InputError) as error:
        raise VerificationError(f"not a receipt: {error}", code="evidence_malformed") from error
    if name is None or command is None:
        raise VerificationError("the receipt's envelope holds no command", code="evidence_malformed")
    if file.cluster != genesis.cluster_id or command.cluster != genesis.cluster_id:
        raise VerificationError("the receipt is of another cluster", code="wrong_cluster")
    checkpoint = prove_checkpoint(file.certificate.encode(), genesis)
    # SAFETY: test_receipt.py::test_a_leaf_that_is_not_certified_is_refused
    verify_inclusion(leaf_bytes, leaf.seq - 1, checkpoint.seq, proof, checkpoint.root)
    said = (file.seq, file.outcome, file.certified_seq, file.command_id)
    if said != (leaf.seq, leaf.outcome, checkpoint.seq, command.command_id) or leaf.epoch != FIRST_EPOCH:
        raise LineageError("the receipt says something else than its leaf and certificate")
    # SAFETY: test_receipt.py::test_another_envelope_is_refused
    _bind(leaf, envelope)
    return ProvenReceipt(checkpoint, leaf, name, command.command_id, msgspec.to_builtins(command))


def _bind(leaf: Leaf, envelope: bytes) -> None:
    """Show that the leaf's entry holds this envelope.

    The entry's own time stamp is not in the leaf: the machine's time is, which equals it unless the proposer's clock
    was behind. So stamps are tried backwards from there, as far as clocks of one cluster may differ.
    """
    for stamp in range(leaf.time, max(0, leaf.time - _STAMPS_TRIED_MS), -1):
        if entry_digest(encode_entry(WallMs(stamp), envelope)) == leaf.entry_digest:
            return
    raise LineageError("the receipt's leaf is not shown to be that of its envelope")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except binascii.Error as error:
        raise ValueError("malformed base64") from error
