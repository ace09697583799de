"""From the genesis to the electorate of a later epoch, by the links that an evidence file carries.

Stricter than `epochs`: every byte of the links counts, base64 and lines of certificates included, so that no byte of a
file can be changed unnoticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from govraft.core.codec.note import Checkpoint, Note, cosignature_key_id, format_note, parse_note
from govraft.core.convergence.certificate import key_name, verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.evidence.epochs import EpochHistory, EpochLink, decode_links, encode_links
from govraft.core.evidence.files import malformed
from govraft.core.machine.electorate_view import electorate_of
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import Genesis
from govraft.errors import CertificateError, VerificationError

__all__ = ["EPOCH_UNKNOWN", "Chain", "encode_chain", "exact_note", "open_chain", "prove_exact"]

EPOCH_UNKNOWN = "epoch_unknown"


class Chain:
    """The electorates that a file's links prove."""

    def __init__(self, history: EpochHistory) -> None:
        self.history = history

    def electorate(self, epoch: int) -> Electorate:
        """The electorate of an epoch.

        Raises:
            VerificationError: The links do not lead there.
        """
        found = self.history.electorates.get(epoch)
        if found is None:
            raise VerificationError(f"nothing here leads from the genesis to epoch {epoch}", code=EPOCH_UNKNOWN)
        return found

    def require_in_force(self, epoch: int, seq: int) -> None:
        """Refuse a state of `epoch` at a seq at which, as the links show, another epoch was in force.

        Raises:
            CertificateError: So it is.
        """
        # SAFETY: who was a member once certifies nothing later
        # (test_permit_chain.py::test_an_electorate_that_is_no_more_permits_nothing).
        in_force = self.history.in_force(seq).epoch
        if in_force != epoch:
            raise CertificateError(f"at seq {seq} epoch {in_force} was in force, not {epoch}", code="wrong_epoch")

    def is_change(self, seq: int) -> bool:
        """Whether the electorate changed at this seq."""
        return any(begin == seq for begin, _ in self.history.changes[1:])

    @property
    def all(self) -> tuple[Electorate, ...]:
        """Every electorate, in order of epochs."""
        known = self.history.electorates
        return tuple(known[epoch] for epoch in sorted(known))


def open_chain(genesis: Genesis, links: Sequence[dict[str, Any]]) -> Chain:
    """Verify the links of an evidence file, as they stand there.

    Raises:
        VerificationError: One of them does not hold, or is not in its one spelling.
    """
    decoded = decode_links(list(links))
    if encode_links(decoded) != list(links):
        raise malformed("`epochs` is not in canonical form")
    history = EpochHistory(genesis)
    for link in decoded:
        before = history.newest
        history.verify(link)
        if link.note != exact_note(link.note, (before, history.newest), genesis.origin):
            raise _inexact()
    return Chain(history)


def encode_chain(genesis: Genesis, links: Sequence[EpochLink]) -> list[dict[str, Any]]:
    """Verified links as evidence files carry them: their certificates without lines that count for nothing."""
    exact, before = [], genesis.electorate()
    for link in links:
        electorate = electorate_of(link.records)
        note = exact_note(link.note, (before, electorate), genesis.origin)
        exact.append(msgspec.structs.replace(link, note=note))
        before = electorate
    return encode_links(exact)


def exact_note(note: bytes, electorates: Sequence[Electorate], origin: str) -> bytes:
    """A certificate without the lines that are not of voters of `electorates`, sorted, each once.

    Raises:
        DecodeError: It is not a note.
    """
    parsed = parse_note(note)
    known = {line for electorate in electorates for line in _lines_of(electorate, origin)}
    kept = {(item.name, item.key_id): item for item in parsed.signatures if (item.name, item.key_id) in known}
    return format_note(Note(parsed.body, tuple(kept[line] for line in sorted(kept))))


def prove_exact(note: bytes, electorate: Electorate, origin: str) -> Checkpoint:
    """Verify a certificate that holds cosignatures of voters and nothing else, so that each of its bytes counts.

    Raises:
        CertificateError: It proves nothing, or holds a line that could be changed unnoticed.
    """
    checkpoint = verify_certificate(note, electorate, origin, is_valid=verify)
    # SAFETY: a line of an unknown key is verified by nobody (test_permit_file.py::test_any_changed_byte_fails).
    if note != exact_note(note, (electorate,), origin):
        raise _inexact()
    return checkpoint


def _inexact() -> CertificateError:
    return CertificateError("the certificate holds more than cosignatures of voters, each once and sorted")


def _lines_of(electorate: Electorate, origin: str) -> list[tuple[str, bytes]]:
    names = ((key_name(origin, voter.id), voter.public_key) for voter in electorate.voters)
    return [(name, cosignature_key_id(name, public_key)) for name, public_key in names]
