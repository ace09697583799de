"""A whole lineage in one file, and its proof from the genesis alone.

JSON Lines:

    {"format": "govraft.lineage.v1", "cluster": hex, …}     header
    {"seq": 1, "leaf": base64, "entry": null}               one line for each seq; the genesis has no entry
    {"seq": 2, "leaf": base64, "entry": base64}
    {"epoch": 2, "lease": base64}                           after the seq at which the electorate changed
    …
    {"certificate": text}                                   a quorum certificate for exactly the last seq

What makes it a proof, in this order, and nothing of it may be left out:

1. Leaf 1 is the leaf that this genesis gives.
2. Leaves are contiguous, and each entry is the one that its leaf commits to.
3. Replaying every entry through a fresh machine gives every leaf again, byte for byte: outcomes, state and all.
4. Each change of the electorate is certified at exactly its seq, over the root of the leaves so far, by a quorum of the
   electorate before it and one of the electorate after it.
5. The root of the leaves is the root that a quorum of the last electorate has cosigned at that seq.

An epoch's line carries the whole joint lease: who makes a store of an export must prove to others what it begins with.

An export of the format `govraft.applied.v1` has the same lines up to what a node has applied, certified or not, and no
certificate. It proves no more than the epochs that are certified in it. It is for one use: a cluster whose last change
of the electorate waits for the ack of a key that the change itself brought in must be able to tell that node so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from govraft.core.codec.base64_text import to_base64
from govraft.core.codec.canonical import pack
from govraft.core.convergence.certificate import verify_lease
from govraft.core.convergence.messages import Kind, ProvenChange, Signed
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.crypto.keys import verify
from govraft.core.evidence.certificate import ProvenCheckpoint, prove_in_history
from govraft.core.evidence.epochs import EpochHistory
from govraft.core.evidence.files import malformed, parse_json, to_bytes
from govraft.core.evidence.trust_state import Shown, TrustState
from govraft.core.lineage.leaf import Leaf
from govraft.core.machine.entry import entry_digest
from govraft.core.machine.machine import Machine
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import FIRST_EPOCH, Genesis
from govraft.core.model.outcome import Applied
from govraft.core.model.rules import explain_unknown_rules
from govraft.errors import CertificateError, GovraftError, InputError, LineageError, VerificationError

__all__ = [
    "APPLIED_FORMAT",
    "LINEAGE_FORMAT",
    "LINE_BYTES_MAX",
    "ProvenLineage",
    "encode_end",
    "encode_epoch",
    "encode_header",
    "encode_record",
    "is_of_applied",
    "prove_lineage",
    "read_applied",
]

LINEAGE_FORMAT = "govraft.lineage.v1"
APPLIED_FORMAT = "govraft.applied.v1"

LINE_BYTES_MAX = 2 * 1024 * 1024
"""With its end; a lease may fill a frame, which base64 makes longer by a third."""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: Literal["govraft.lineage.v1", "govraft.applied.v1"]
    cluster: str
    name: str
    last: int


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seq: Annotated[int, msgspec.Meta(ge=1)]
    leaf: str
    entry: str | None


class _Epoch(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    epoch: Annotated[int, msgspec.Meta(gt=FIRST_EPOCH)]
    lease: str


class _End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    certificate: str


_T = TypeVar("_T")


class ProvenLineage(msgspec.Struct, frozen=True):
    """What an export proves.

    Attributes:
        checkpoint: Certified; its seq is the number of leaves.
        applied: How many entries changed the state, the genesis included.
        rejected: How many were refused.
        state_root: Of the state that the replay ended in, 32 bytes.
        time: WallMs of the last leaf.
        policy_version: That decides now, 0 for none.
        entities: How many there are.
        shown: Of the history, to be held against a trust state.
    """

    checkpoint: ProvenCheckpoint
    applied: int
    rejected: int
    state_root: bytes
    time: int
    policy_version: int
    entities: int
    shown: Shown


def encode_header(genesis: Genesis, *, last: int, applied: bool = False) -> bytes:
    """The first line of an export that ends at seq `last`: a certified one, or, if `applied`, one that need not be."""
    form = APPLIED_FORMAT if applied else LINEAGE_FORMAT
    return _line({"format": form, "cluster": genesis.cluster_id, "name": genesis.name, "last": last})


def encode_record(seq: int, leaf: bytes, entry: bytes | None) -> bytes:
    """The line of one seq."""
    return _line({"seq": seq, "leaf": to_base64(leaf), "entry": None if entry is None else to_base64(entry)})


def encode_epoch(epoch: int, lease: bytes) -> bytes:
    """The line of a change of the electorate, right after that of its seq.

    Args:
        epoch: Of the electorate after it.
        lease: The signed joint lease for that seq.
    """
    return _line({"epoch": epoch, "lease": to_base64(lease)})


def encode_end(certificate: bytes) -> bytes:
    """The last line."""
    return _line({"certificate": certificate.decode("utf-8")})


def prove_lineage(
    lines: Iterable[bytes],
    genesis: Genesis,
    advance: Callable[[int], object] | None = None,
    visit: Callable[[Machine], object] | None = None,
    keep: Callable[[int, int, ProvenChange], object] | None = None,
    trust: TrustState | None = None,
) -> ProvenLineage:
    """Verify an export against the genesis and nothing else.

    Args:
        lines: Of the file, in order; read once.
        genesis: Trusted.
        advance: Told of each line that was replayed.
        visit: Shown the machine after each seq. What it sees is proven only once this returns.
        keep: Given each certified change of the electorate: its epoch, its seq, and what proves it to others.
        trust: The root at its seq is told in what is `shown`.

    Raises:
        VerificationError: Malformed, incomplete, of another cluster, or one of the four rules does not hold.
    """
    numbered = enumerate(lines, 1)
    header = _read_first(numbered, genesis)
    # SAFETY: what is only applied proves nothing (test_lineage_applied.py::test_it_is_no_lineage_export).
    if header.format != LINEAGE_FORMAT:
        message = "the export is of what is applied, certified or not: only `govraft-node learn-epochs` takes it"
        raise VerificationError(message, code="evidence_malformed")
    replay = _Replay(genesis, keep)
    for number, line in numbered:
        certificate = _take(replay, line, number)
        if certificate is not None:
            extra = next(numbered, None)
            if extra is not None:
                raise VerificationError(
                    f"line {extra[0]}: nothing may follow the certificate", code="evidence_malformed"
                )
            proven = replay.finish(certificate, 0 if trust is None else trust.seq)
            if proven.checkpoint.seq != header.last:
                message = f"the header says that seq {header.last} is the last, it is {proven.checkpoint.seq}"
                raise VerificationError(message, code="evidence_malformed")
            return proven
        if visit is not None:
            visit(replay.machine)
        if advance is not None:
            advance(1)
    raise VerificationError("the export ends without a certificate: it was cut off", code="evidence_malformed")


def is_of_applied(first: bytes) -> bool:
    """Whether the first line of an export says that it is of what is applied, certified or not."""
    try:
        return _convert(_parse(first, 1), _Header, 1).format == APPLIED_FORMAT
    except VerificationError:
        return False


def read_applied(
    lines: Iterable[bytes], genesis: Genesis, keep: Callable[[int, int, ProvenChange], object] | None = None
) -> tuple[Electorate, ...]:
    """Replay an export of what is applied.

    Args:
        lines: Of the file, in order; read once.
        genesis: Trusted.
        keep: As for `prove_lineage`: what it is given is certified.

    Returns:
        The electorates that the entries make after the certified ones, in their order. Nobody vouches for them.

    Raises:
        VerificationError: Malformed, incomplete, of another cluster, or the replay gives something else.
    """
    numbered = enumerate(lines, 1)
    header = _read_first(numbered, genesis)
    replay = _Replay(genesis, keep, needs_certificates=False)
    for number, line in numbered:
        if _take(replay, line, number) is not None:
            raise malformed(f"line {number}: an export of what is applied has no certificate")
    if (header.format, header.last) != (APPLIED_FORMAT, replay.taken):
        raise VerificationError(f"the export ends at seq {replay.taken}: it was cut off", code="evidence_malformed")
    return tuple(replay.waiting)


def _read_first(numbered: Iterator[tuple[int, bytes]], genesis: Genesis) -> _Header:
    _, first = next(numbered, (0, b""))
    header = _convert(_parse(first, 1), _Header, 1)
    if (header.cluster, header.name) != (genesis.cluster_id, genesis.name):
        raise VerificationError("the export is of another cluster than the genesis", code="wrong_cluster")
    return header


def _take(replay: _Replay, line: bytes, number: int) -> bytes | None:
    """Replay the line of a seq; the certificate of the last line."""
    fields, where = _parse(line, number), f"line {number}"
    if "certificate" in fields:
        return _convert(fields, _End, number).certificate.encode()
    if "epoch" in fields:
        change = _convert(fields, _Epoch, number)
        replay.certify(change.epoch, to_bytes(change.lease, what=where))
        return None
    record = _convert(fields, _Record, number)
    leaf = to_bytes(record.leaf, what=where)
    replay.take(record.seq, leaf, None if record.entry is None else to_bytes(record.entry, what=where))
    return None


class _Replay:
    """A fresh machine, and what it has seen."""

    def __init__(
        self,
        genesis: Genesis,
        keep: Callable[[int, int, ProvenChange], object] | None,
        *,
        needs_certificates: bool = True,
    ) -> None:
        self._genesis = genesis
        self._needs_certificates = needs_certificates
        self.waiting: list[Electorate] = []
        self._keep = keep
        self._leaf = b""
        self.machine = Machine(genesis)
        self.history = EpochHistory(genesis)
        self.taken = 0
        self._applied = 0

    def take(self, seq: int, leaf: bytes, entry: bytes | None) -> None:
        if seq != self.taken + 1:
            raise LineageError(f"seq {seq} follows seq {self.taken}: leaves are missing or out of order")
        self._require_certified()
        if seq == 1:
            # SAFETY: test_lineage_export.py::test_every_tampering_is_refused
            if entry is not None or leaf != self.machine.genesis_leaf:
                raise LineageError("leaf 1 is not that of the genesis")
            own = leaf
        else:
            own = self._replay(seq, leaf, entry)
        # The root would differ as well; here it can be said where and in what.
        if own != leaf:
            raise LineageError(f"replaying seq {seq} gives another leaf: {_difference(own, leaf)}")
        if self.machine.epoch != (self.waiting[-1:] or [self.history.newest])[0].epoch:
            self.waiting.append(self.machine.electorate)
        self.taken, self._leaf = seq, own
        self._applied += Leaf.decode(own).outcome == Applied().code

    def _replay(self, seq: int, leaf: bytes, entry: bytes | None) -> bytes:
        if entry is None:
            raise LineageError(f"the entry of seq {seq} is missing")
        claimed = _decode_leaf(leaf, seq)
        if entry_digest(entry) != claimed.entry_digest:
            raise LineageError(f"the entry of seq {seq} is not the one that its leaf commits to")
        if not self.machine.knows_rules:
            raise LineageError(f"seq {seq} cannot be replayed: {explain_unknown_rules(self.machine.rules)}")
        return self.machine.apply(entry).leaf

    def certify(self, epoch: int, lease: bytes) -> None:
        """Take the certificate of the change that was replayed last."""
        machine = self.machine
        if epoch != machine.epoch or epoch != self.history.newest.epoch + 1:
            raise LineageError(f"the certificate of epoch {epoch} does not follow seq {self.taken}")
        judges = (self.history.newest, machine.electorate)
        try:
            signed = Signed.decode(lease, Kind.LEASE)
        except InputError as error:
            raise CertificateError(f"the certificate of epoch {epoch} cannot be read: {error}") from error
        cluster, timing = bytes.fromhex(self._genesis.cluster_id), LeaseTiming.of(self._genesis)
        verified = verify_lease(signed, judges, self._genesis.origin, cluster, timing, is_valid=verify)
        # SAFETY: both electorates stand for exactly this lineage
        # (test_lineage_epochs.py::test_each_change_is_certified).
        if (verified.probe.checkpoint.seq, verified.probe.checkpoint.root) != (self.taken, machine.root):
            raise LineageError(f"the certificate of epoch {epoch} is of another state than that of seq {self.taken}")
        self.history.learn(self.taken, machine.electorate)
        self.waiting.clear()
        if self._keep is not None:
            records = pack(dict(machine.records("electorate")))
            proof = pack(machine.lineage.inclusion_proof(self.taken - 1, self.taken))
            self._keep(epoch, self.taken, ProvenChange(lease, records, self._leaf, proof))

    def _require_certified(self) -> None:
        if self._needs_certificates and self.machine.epoch != self.history.newest.epoch:
            raise LineageError(f"the change of the electorate at seq {self.taken} is not certified")

    def finish(self, certificate: bytes, trusted_seq: int) -> ProvenLineage:
        self._require_certified()
        checkpoint = prove_in_history(certificate, self._genesis, self.history)
        machine = self.machine
        if checkpoint.seq != self.taken:
            raise LineageError(f"the certificate is for seq {checkpoint.seq}, the export ends at seq {self.taken}")
        # SAFETY: test_lineage_export.py::test_a_certificate_of_another_root_is_refused
        if checkpoint.root != machine.root:
            raise LineageError("the certified root is not the root of these leaves")
        roots = {seq: machine.lineage.root(seq) for seq in {trusted_seq, self.taken} if 0 < seq <= self.taken}
        active = machine.active_policies
        return ProvenLineage(
            checkpoint,
            self._applied,
            self.taken - self._applied,
            machine.state_root,
            machine.time,
            0 if active is None else active.version,
            len(machine.entities),
            Shown(self.history, checkpoint.epoch, checkpoint.seq, roots),
        )


def _difference(own: bytes, leaf: bytes) -> str:
    mine, theirs = msgspec.to_builtins(Leaf.decode(own)), msgspec.to_builtins(_decode_leaf(leaf, 0))
    names = [name for name in mine if mine[name] != theirs[name]]
    return f"`{', '.join(names)}` differs"


def _decode_leaf(data: bytes, seq: int) -> Leaf:
    try:
        return Leaf.decode(data)
    except GovraftError as error:
        raise LineageError(f"the leaf of seq {seq} cannot be read: {error}") from error


def _parse(line: bytes, number: int) -> dict[str, Any]:
    try:
        if len(line) > LINE_BYTES_MAX:
            raise ValueError("the line is too long")
        fields = parse_json(line)
    except (ValueError, InputError) as error:
        raise _malformed_line(number, error) from error
    if not isinstance(fields, dict):
        raise _malformed_line(number, "it is no json object")
    return fields


def _convert(fields: dict[str, Any], shape: type[_T], number: int) -> _T:
    try:
        return msgspec.convert(fields, shape)
    except msgspec.ValidationError as error:
        raise _malformed_line(number, error) from error


def _malformed_line(number: int, why: object) -> VerificationError:
    return malformed(f"line {number} is not of a lineage export: {why}")


def _line(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value) + b"\n"
