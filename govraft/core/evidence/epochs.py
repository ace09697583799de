"""Who may cosign, proven from the genesis alone: the chain of epochs.

A change of the electorate is the entry of some seq m. Its link shows, to whoever knows the electorate before it:

1. a certificate for exactly m, of a quorum of the electorate before it and of one of the electorate after it;
2. that the leaf of m is the last one under the root which they cosigned;
3. that the records of the section `electorate` have the digest which that leaf names.

So the records are the members after the change, and the next link can be judged by them.

Whoever knows only the first links of a chain must not judge a later certificate by the last electorate that he knows:
its members may have left, and their keys with them. Give all links up to the certificate.

Source: protocol, "Epochs".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import msgspec

from govraft.core.codec.base64_text import to_base64
from govraft.core.codec.complaints import in_words
from govraft.core.codec.note import Checkpoint, parse_note
from govraft.core.convergence.certificate import IsValid, verify_certificate
from govraft.core.crypto.keys import verify
from govraft.core.evidence.files import malformed, to_bytes
from govraft.core.lineage.leaf import Leaf
from govraft.core.lineage.proofs import verify_inclusion
from govraft.core.machine import trie
from govraft.core.machine.electorate_view import EPOCH_KEY, electorate_of
from govraft.core.model.electorate import Electorate
from govraft.core.model.genesis import FIRST_EPOCH, Genesis
from govraft.errors import CertificateError, InputError, LineageError

__all__ = ["EpochHistory", "EpochLink", "decode_links", "encode_links", "verify_epochs"]

_GENESIS_SEQ = 1


class EpochLink(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What proves one change of the electorate.

    Attributes:
        epoch: Of the electorate after it.
        leaf: Of its seq, exact bytes.
        records: Of the section `electorate` at that seq, exact bytes by key.
        note: The certificate for exactly that seq.
        proof: Inclusion of the leaf in the lineage of that size.
    """

    epoch: int
    leaf: bytes
    records: Mapping[str, bytes]
    note: bytes
    proof: tuple[bytes, ...]


class EpochHistory:
    """Electorates that are proven, and from which seq on each is in force."""

    def __init__(self, genesis: Genesis, is_valid: IsValid = verify) -> None:
        """Knows the genesis, and nothing yet of what followed it."""
        self._genesis = genesis
        self._is_valid = is_valid
        self._known: list[tuple[int, Electorate]] = [(_GENESIS_SEQ, genesis.electorate())]
        self.roots: dict[int, bytes] = {}
        """By seq: the certified root of each change that a link has proven."""

    @classmethod
    def beginning_with(cls, electorate: Electorate, genesis: Genesis, is_valid: IsValid = verify) -> EpochHistory:
        """Knows an electorate that is trusted, and neither when it began nor what was before it."""
        history = cls(genesis, is_valid)
        history._known = [(_GENESIS_SEQ, electorate)]
        return history

    @property
    def changes(self) -> tuple[tuple[int, Electorate], ...]:
        """Every electorate with the seq from which on it is in force, in order."""
        return tuple(self._known)

    @property
    def newest(self) -> Electorate:
        """The last electorate that is known."""
        return self._known[-1][1]

    @property
    def newest_seq(self) -> int:
        """From which seq on it is in force."""
        return self._known[-1][0]

    @property
    def electorates(self) -> dict[int, Electorate]:
        """By epoch."""
        return {electorate.epoch: electorate for _, electorate in self._known}

    def in_force(self, seq: int) -> Electorate:
        """The electorate after the entry of `seq`, as far as is known. Raises `LineageError` below 1."""
        return self.judges(seq)[-1]

    def judges(self, seq: int) -> tuple[Electorate, ...]:
        """Whose quorums a certificate for `seq` needs, as far as is known: at a change, both sides'.

        Raises:
            LineageError: There is no such seq.
        """
        for place in range(len(self._known) - 1, -1, -1):
            begin, electorate = self._known[place]
            if begin <= seq:
                # SAFETY: at the change itself the new members alone prove nothing to who knows only the old ones
                # (test_epochs.py::test_at_the_change_both_must_have_cosigned).
                is_change = begin == seq and place > 0
                return (self._known[place - 1][1], electorate) if is_change else (electorate,)
        raise LineageError(f"no lineage has a seq {seq}")

    def learn(self, seq: int, electorate: Electorate) -> None:
        """Take in the next epoch, which the caller has proven by itself."""
        if electorate.epoch != self.newest.epoch + 1 or seq <= self.newest_seq:
            raise LineageError(f"epoch {electorate.epoch} does not follow epoch {self.newest.epoch}")
        self._known.append((seq, electorate))

    def verify(self, link: EpochLink) -> Electorate:
        """Verify the next link, take in its electorate, and return it.

        Raises:
            VerificationError: It is not the next one, or proves nothing.
        """
        seq, electorate = self.prove(link)
        self.learn(seq, electorate)
        self.roots[seq] = Checkpoint.decode(parse_note(link.note).body).root
        return electorate

    def prove(self, link: EpochLink) -> tuple[int, Electorate]:
        """What the next link proves: from which seq on which electorate is in force.

        Raises:
            VerificationError: It is not the next one, or proves nothing.
        """
        try:
            leaf = Leaf.decode(link.leaf)
            digest = trie.node_digest(trie.build((key.encode(), value) for key, value in link.records.items()))
        except (InputError, ValueError) as error:
            raise LineageError(f"epoch {link.epoch}: its leaf or records cannot be read: {error}") from error
        if not link.epoch == leaf.epoch == self.newest.epoch + 1 or leaf.seq <= self.newest_seq:
            raise LineageError(f"epoch {link.epoch} does not follow epoch {self.newest.epoch}")
        # SAFETY: the records are those of the leaf (test_epochs.py::test_each_part_of_a_link_counts).
        if digest != leaf.sections.get("electorate"):
            raise LineageError(f"epoch {link.epoch}: its records are not those of the leaf of seq {leaf.seq}")
        # The electorate that is trusted so far stands for the records before they are decoded.
        checkpoint = self._certified(link.note, (self.newest,))
        if checkpoint.seq != leaf.seq:
            message = f"epoch {link.epoch}: certified is seq {checkpoint.seq}, not the change at {leaf.seq}"
            raise CertificateError(message)
        # SAFETY: the leaf is the one under the root that they cosigned (::test_each_part_of_a_link_counts).
        verify_inclusion(link.leaf, leaf.seq - 1, leaf.seq, link.proof, checkpoint.root)
        electorate = self._decoded(link)
        # SAFETY: a quorum of the next electorate stands for it too: else the old one alone could put strangers in its
        # place (test_epochs.py::test_at_the_change_both_must_have_cosigned).
        self._certified(link.note, (self.newest, electorate))
        return leaf.seq, electorate

    def _certified(self, note: bytes, judges: tuple[Electorate, ...]) -> Checkpoint:
        return verify_certificate(note, judges, self._genesis.origin, is_valid=self._is_valid)

    def _decoded(self, link: EpochLink) -> Electorate:
        try:
            electorate = electorate_of(link.records) if EPOCH_KEY in link.records else None
        except (msgspec.MsgspecError, ValueError, KeyError) as error:
            raise LineageError(f"epoch {link.epoch}: its records cannot be read: {in_words(error)}") from error
        if electorate is None or electorate.epoch != link.epoch or not electorate.voters:
            raise LineageError(f"epoch {link.epoch}: its records are of no such electorate")
        if electorate.rule is not self._genesis.quorum:
            raise LineageError(f"epoch {link.epoch} has another quorum rule than the genesis")
        return electorate


def verify_epochs(genesis: Genesis, links: Iterable[EpochLink], is_valid: IsValid = verify) -> EpochHistory:
    """Verify a chain of epochs from the genesis.

    Args:
        genesis: Trusted.
        links: From epoch 2 on, without a gap.
        is_valid: Checks a signature.

    Raises:
        VerificationError: A link proves nothing, or one is missing.
    """
    history = EpochHistory(genesis, is_valid)
    for link in links:
        history.verify(link)
    return history


class _LinkFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    epoch: Annotated[int, msgspec.Meta(gt=FIRST_EPOCH)]
    leaf: str
    records: dict[str, str]
    note: str
    proof: list[str]


def encode_links(links: Iterable[EpochLink]) -> list[dict[str, Any]]:
    """Links as they stand in evidence files, field `epochs`."""
    return [
        {
            "epoch": link.epoch,
            "leaf": to_base64(link.leaf),
            "records": {key: to_base64(value) for key, value in sorted(link.records.items())},
            "note": link.note.decode("utf-8"),
            "proof": [to_base64(node) for node in link.proof],
        }
        for link in links
    ]


def decode_links(value: object) -> tuple[EpochLink, ...]:
    """Read the field `epochs` of an evidence file, parsed JSON.

    Raises:
        VerificationError: Malformed.
    """
    try:
        files = msgspec.convert(value, list[_LinkFile])
        return tuple(
            EpochLink(
                file.epoch,
                to_bytes(file.leaf, what="epochs.leaf"),
                {key: to_bytes(record, what="epochs.records") for key, record in file.records.items()},
                file.note.encode(),
                tuple(to_bytes(node, what="epochs.proof") for node in file.proof),
            )
            for file in files
        )
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise malformed(f"`epochs` cannot be read: {in_words(error)}") from error
