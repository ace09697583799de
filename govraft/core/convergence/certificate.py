"""Does this note, or this lease, prove what it claims? All trust rules of convergence in one module, without I/O.

A quorum certificate proves that a quorum of the electorate cosigned one checkpoint. A lease proves more: that
the quorum acked *this* probe, grants included, and that every holder which any of them still counts as
`outstanding` at a lower seq has itself moved on. Whoever receives either checks all of it; nothing is taken
over from the leader that sent it.

At the seq at which the electorate changes, both electorates must agree: what is verified is then judged by two of them,
the old one first, and needs a quorum of each. They may hold one id under two keys: those are two voters, each of whom
counts only where its own key stands.

Source: protocol, "Signed objects", "The round", steps 4 and 5, and "Epochs"; C2SP signed-note, "Signatures".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from govraft.core.codec.note import Checkpoint, Note, cosignature_key_id, cosigned_message, parse_note
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, probe_digest
from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.electorate import Electorate, Member
from govraft.errors import CertificateError, DecodeError, SignatureError, require

__all__ = [
    "WRONG_EPOCH",
    "Electorates",
    "IsValid",
    "OpenedLease",
    "VerifiedLease",
    "count_quorum",
    "key_name",
    "lease_note",
    "open_ack",
    "open_lease",
    "open_signed",
    "verify_certificate",
    "verify_cosignature",
    "verify_lease",
    "verify_opened",
]

WRONG_EPOCH = "wrong_epoch"
"""Code of the error for a lease of another epoch: it may be true, only not to be judged by this electorate."""

IsValid = Callable[[bytes, bytes, bytes], bool]
"""`(public_key, signature, message) -> bool`. Must not raise."""

Electorates = Electorate | tuple[Electorate, ...]
"""One electorate; or, at the seq of a change, the one before it and the one after it."""


class VerifiedLease(msgspec.Struct, frozen=True):
    """A lease that held in every respect.

    Attributes:
        probe: What the quorum acked.
        voters: Ids of the voters whose acks carry it.
        note: The quorum certificate's text.
    """

    probe: Probe
    voters: frozenset[str]
    note: bytes


class OpenedLease(NamedTuple):
    """A lease whose sender is known, and nothing else about it."""

    sender: Member
    lease: Lease
    probe: Probe


def key_name(origin: str, node_id: str) -> str:
    """The C2SP key name of a node."""
    return f"{origin}/{node_id}"


def count_quorum(voted: set[tuple[str, bytes]], electorates: Electorates) -> tuple[int, int] | None:
    """None if a quorum of each electorate is among these (id, public key) pairs, else how many of how many there are.

    Distinct public keys of voters are counted, never ids, key ids or lines.
    """
    for electorate in _several(electorates):
        # SAFETY: each electorate counts its own voters under their own keys, and each must have its quorum
        # (test_joint_certificate.py::test_a_quorum_of_each_is_needed, ::test_a_rotated_voter_is_two).
        keys = {voter.public_key for voter in electorate.voters if (voter.id, voter.public_key) in voted}
        if len(keys) < electorate.quorum_count:
            return len(keys), electorate.quorum_count
    return None


def open_signed(signed: Signed, electorates: Electorates, cluster: bytes, is_valid: IsValid) -> Member:
    """Verify who said it, before anything of it is parsed.

    Returns:
        The member that signed, as the electorate says that has it under the key which signed.

    Raises:
        CertificateError: The signer is no member, or the signature is not its own.
    """
    known = [member for electorate in _several(electorates) if (member := electorate.find(signed.signer)) is not None]
    if not known:
        raise CertificateError(f"{signed.kind.value} is signed by `{signed.signer[:64]}`, who is no member")
    message = signed.message(cluster)
    tried: set[bytes] = set()
    for member in reversed(known):
        if member.public_key not in tried and is_valid(member.public_key, signed.signature, message):
            return member
        tried.add(member.public_key)
    text = f"{signed.kind.value} has an invalid signature of `{known[0].id}`"
    raise CertificateError(text, code=SignatureError.default_code)


def verify_certificate(text: bytes, electorates: Electorates, origin: str, *, is_valid: IsValid) -> Checkpoint:
    """Verify that a quorum of each of `electorates` cosigned the note's checkpoint.

    Unknown keys are ignored, so that a cosigner can join before every verifier knows it. A known key with a bad
    signature rejects the whole note: counting around it would hide corruption or forgery.

    Args:
        text: The signed note as received.
        electorates: The trusted members of the checkpoint's epoch; at the seq of its change, also those before it.
        origin: `govraft.dev/<cluster id>`, from the trusted genesis.
        is_valid: `(public_key, signature, message) -> bool`; must not raise.

    Returns:
        The checkpoint that is proven.

    Raises:
        CertificateError: Malformed, of another cluster, a bad signature of a known key, or too few of them.
    """
    try:
        note = parse_note(text)
        checkpoint = Checkpoint.decode(note.body)
    except DecodeError as error:
        raise CertificateError(f"certificate cannot be read: {error}") from error
    if checkpoint.origin != origin:
        raise CertificateError(f"certificate is of `{checkpoint.origin[:128]}`, not of `{origin}`")
    missing = count_quorum(_cosigners(note, electorates, origin, is_valid), electorates)
    if missing is not None:
        raise CertificateError(f"certificate has {missing[0]} of {missing[1]} cosignatures")
    return checkpoint


def _cosigners(note: Note, electorates: Electorates, origin: str, is_valid: IsValid) -> set[tuple[str, bytes]]:
    known: dict[tuple[str, bytes], Member] = {}
    for electorate in _several(electorates):
        for member in electorate.members:
            name = key_name(origin, member.id)
            known[name, cosignature_key_id(name, member.public_key)] = member
    for other in note.others:
        if other in known:
            raise CertificateError(f"certificate has a malformed cosignature of `{known[other].id}`")
    signers: set[tuple[str, bytes]] = set()
    for item in note.signatures:
        signer = known.get((item.name, item.key_id))
        if signer is None:
            continue
        if not is_valid(signer.public_key, item.signature, cosigned_message(note.body, item.time_s)):
            raise CertificateError(f"certificate has an invalid cosignature of `{signer.id}`")
        # SAFETY: a set of public keys: one voter signing twice is one voter
        # (test_certificate.py::test_one_voter_signing_twice_is_one_voter).
        signers.add((signer.id, signer.public_key))
    return signers


def verify_lease(
    signed: Signed, electorates: Electorates, origin: str, cluster: bytes, timing: LeaseTiming, *, is_valid: IsValid
) -> VerifiedLease:
    """Verify a whole lease message.

    Args:
        signed: As received.
        electorates: The members of its epoch; at the seq of the epoch's change, until it is certified, those before it
            and those after it.
        origin: `govraft.dev/<cluster id>`.
        cluster: 32-byte cluster digest.
        timing: From the trusted genesis.
        is_valid: `(public_key, signature, message) -> bool`; must not raise.

    Raises:
        CertificateError: Any part of it does not hold.
    """
    opened = open_lease(signed, electorates, cluster, is_valid=is_valid)
    return verify_opened(opened, electorates, origin, cluster, timing, is_valid=is_valid)


def open_lease(signed: Signed, electorates: Electorates, cluster: bytes, *, is_valid: IsValid) -> OpenedLease:
    """Read a lease of a member: of which epoch and seq is it? Nothing of it is proven by that.

    Args:
        signed: As received.
        electorates: All whose members may speak.
        cluster: 32-byte cluster digest.
        is_valid: As everywhere.

    Raises:
        CertificateError: Nobody of them signed it, or it is malformed.
    """
    sender = open_signed(signed, electorates, cluster, is_valid)
    try:
        lease = Lease.decode(signed.body)
        return OpenedLease(sender, lease, Probe.decode(lease.probe.body))
    except DecodeError as error:
        raise CertificateError(f"lease cannot be read: {error}") from error


def verify_opened(
    opened: OpenedLease,
    electorates: Electorates,
    origin: str,
    cluster: bytes,
    timing: LeaseTiming,
    *,
    is_valid: IsValid,
) -> VerifiedLease:
    """As `verify_lease`, of what `open_lease` has read.

    Raises:
        CertificateError: Any part of it does not hold.
    """
    sender, lease, probe = opened
    try:
        author = open_signed(lease.probe, electorates, cluster, is_valid)
        acks = [open_ack(item, electorates, cluster, is_valid) for item in lease.acks]
    except DecodeError as error:
        raise CertificateError(f"lease cannot be read: {error}") from error
    if (sender.id, sender.public_key) != (author.id, author.public_key) or author.id != probe.leader:
        raise CertificateError("lease, probe and leader are not of one node")
    epoch = _several(electorates)[-1].epoch
    if probe.epoch != epoch:
        raise CertificateError(f"lease is of epoch {probe.epoch}, not of {epoch}", code=WRONG_EPOCH)
    for member, ack in acks:
        # SAFETY: a time that its node did not cosign says nothing of when it moved on
        # (test_certificate.py::test_an_ack_without_its_cosignature_makes_no_lease).
        verify_cosignature(ack, member, origin, is_valid=is_valid)
        if not timing.is_timely(ack.time_s, probe.wall):
            raise CertificateError(f"ack of `{member.id}` is dated long after the probe of the lease")
    voters = _granting_voters(lease, probe, acks, electorates)
    checkpoint = verify_certificate(lease.note, electorates, origin, is_valid=is_valid)
    if checkpoint != probe.checkpoint:
        raise CertificateError("certificate and probe are of different checkpoints")
    return VerifiedLease(probe, voters, lease.note)


def lease_note(lease: bytes) -> bytes:
    """The quorum certificate in the bytes of a signed lease. Nothing is verified.

    Raises:
        DecodeError: They are no lease.
    """
    return Lease.decode(Signed.decode(lease, Kind.LEASE).body).note


def open_ack(signed: Signed, electorates: Electorates, cluster: bytes, is_valid: IsValid) -> tuple[Member, Ack]:
    """Verify an ack's author, then parse it.

    Raises:
        CertificateError: The author is no member, the signature is not its own, or it speaks for another node.
        DecodeError: It is malformed.
    """
    member = open_signed(signed, electorates, cluster, is_valid)
    ack = Ack.decode(signed.body)
    if ack.node != member.id:
        raise CertificateError(f"ack of `{ack.node[:64]}` is signed by `{member.id}`")
    return member, ack


def verify_cosignature(ack: Ack, member: Member, origin: str, *, is_valid: IsValid) -> None:
    """Verify the cosignature inside an ack, so that one bad voter cannot spoil a whole certificate.

    Args:
        ack: Of `open_ack`.
        member: Who signed the ack: the same key must have made the cosignature.
        origin: `govraft.dev/<cluster id>`.
        is_valid: As everywhere.

    Raises:
        CertificateError: It is not the node's cosignature over the checkpoint that the ack names.
    """
    body = Checkpoint(origin, ack.seq, ack.root).encode()
    if not is_valid(member.public_key, ack.cosignature, cosigned_message(body, ack.time_s)):
        raise CertificateError(f"ack of `{ack.node[:64]}` has an invalid cosignature")


def _granting_voters(
    lease: Lease, probe: Probe, acks: list[tuple[Member, Ack]], electorates: Electorates
) -> frozenset[str]:
    """The voters that carry the lease.

    Any other ack counts for nothing, except as its own node's word that it moved on: a lying voter can withhold its
    own ack, but not spoil those of a quorum.
    """
    digest, checkpoint = probe_digest(lease.probe), probe.checkpoint
    holders = _several(electorates)[0]
    # SAFETY: whoever holds a lease of a lower seq holds it under its key of the electorate before the change; another
    # key under that id is another process, and cannot say that the first one moved on
    # (test_joint_certificate.py::test_a_rotated_holder_moves_on_under_its_old_key).
    moved_on = {member.id for member, ack in acks if ack.seq >= checkpoint.seq and _is_member(member, holders)}
    voted: set[tuple[str, bytes]] = set()
    waiting: set[str] = set()
    for member, ack in acks:
        # SAFETY: only acks of this very probe carry its grants
        # (test_certificate.py::test_acks_of_another_probe_do_not_carry_the_lease).
        if ack.probe != digest:
            continue
        if (ack.round, ack.seq, ack.root) != (probe.round, checkpoint.seq, checkpoint.root):
            continue
        # SAFETY: a holder that may still be serving an older seq forbids the certificate
        # (test_certificate.py::test_a_silent_outstanding_holder_forbids_the_lease).
        missing = set(ack.outstanding) - moved_on
        if missing:
            waiting |= missing
            continue
        voted.add((member.id, member.public_key))
    lacking = count_quorum(voted, electorates)
    if lacking is not None:
        why = f"; holders {', '.join(sorted(waiting))[:256]} may still be serving an older state" if waiting else ""
        raise CertificateError(f"lease has acks of {lacking[0]} of {lacking[1]} voters{why}")
    voters = {(voter.id, voter.public_key) for electorate in _several(electorates) for voter in electorate.voters}
    return frozenset(name for name, key in voted & voters)


def _is_member(member: Member, electorate: Electorate) -> bool:
    found = electorate.find(member.id)
    return found is not None and found.public_key == member.public_key


def _several(electorates: Electorates) -> tuple[Electorate, ...]:
    several = (electorates,) if isinstance(electorates, Electorate) else electorates
    require(bool(several), "nothing is proven to no electorate")
    return several
