"""A trust state that evidence can move forward, for programs that verify evidence.

    trust = Trust.decode(Path("trust.json").read_bytes(), genesis)
    prove_permit(data, genesis, at=now_ms, trust=trust)
    trust = trust.advance(export, genesis)           # keep `trust.encode()`

`begin` believes a file for the genesis alone: only after a person has compared the fingerprint. Nothing here writes.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, cast

import msgspec

from govraft.core.codec.complaints import in_words
from govraft.core.evidence.certificate import prove_certificate
from govraft.core.evidence.evidence import is_lineage
from govraft.core.evidence.files import EVIDENCE_BYTES_MAX, malformed
from govraft.core.evidence.lineage_export import prove_lineage
from govraft.core.evidence.lineage_proof import PROOF_FORMAT, prove_leaf
from govraft.core.evidence.receipt import RECEIPT_FORMAT, prove_receipt
from govraft.core.evidence.trust_state import TRUST_FORMAT, Shown, TrustState, bare_electorate, not_shown
from govraft.core.machine.snapshot import is_snapshot
from govraft.core.model.genesis import Genesis
from govraft.errors import VerificationError

__all__ = ["NOT_LINKED", "NO_TRUST", "Trust"]

NOT_LINKED = "not_linked"
NO_TRUST = "no_trust"


class _Head(msgspec.Struct, frozen=True):
    format: str


class Trust(TrustState, frozen=True):
    """A trust state; `advance` gives a later one, and nothing changes this one."""

    @classmethod
    def decode(cls, data: bytes, genesis: Genesis) -> Trust:
        """Read a trust file. Raises `InputError` as `TrustState.decode`."""
        return cast("Trust", super().decode(data, genesis))

    @classmethod
    def begin(cls, evidence: bytes, genesis: Genesis) -> Trust:
        """The trust state that a file leads to from the genesis alone.

        Args:
            evidence: A certificate, receipt, lineage export, record proof, or another trust state.
            genesis: Trusted.

        Raises:
            VerificationError: It proves nothing, or is of a kind that nobody should trust anything for.
            InputError: A trust state that cannot be read.
        """
        if _format(evidence) == TRUST_FORMAT:
            return cls.decode(evidence, genesis)
        return cls._from(_show(evidence, genesis, None), genesis)

    def advance(self, evidence: bytes, genesis: Genesis) -> Trust:
        """The trust state that evidence leads to from this one; this one if it is not newer.

        It must show that its epochs begin at the trusted electorate, and by its leaves or a consistency proof that its
        lineage begins with the trusted one. Lineage exports do, and record proofs made with `since` the trusted seq.

        Args:
            evidence: A certificate, receipt, lineage export or record proof.
            genesis: Trusted.

        Raises:
            VerificationError: It proves nothing; or it is of another history (code `conflict`), not shown to lie in
                this one (`not_shown`), or does not lead from this one to its own (`not_linked`).
        """
        newer, is_linked = self._lead(evidence, genesis)
        # SAFETY: only what grew out of the trusted root is believed without a question
        # (test_trust_advance.py::test_only_what_grew_out_of_the_trusted_root_moves_it).
        if not is_linked:
            message = f"nothing in it leads from the trusted root at seq {self.seq} to seq {newer.seq}"
            raise VerificationError(message, code=NOT_LINKED)
        return newer

    def propose(self, evidence: bytes, genesis: Genesis) -> tuple[Trust, bool]:
        """The trust state that a file leads to, and whether `advance` would take it; else a person must decide.

        Args:
            evidence: As for `advance`; or another trust state, which never links: nobody has signed it.
            genesis: Trusted.

        Raises:
            VerificationError: As `advance`, but for `not_linked`.
            InputError: A trust state that cannot be read.
        """
        if _format(evidence) != TRUST_FORMAT:
            return self._lead(evidence, genesis)
        other = Trust.decode(evidence, genesis)
        self.refuse_other(other)
        return (self, True) if other.seq <= self.seq else (other, False)

    def _lead(self, evidence: bytes, genesis: Genesis) -> tuple[Trust, bool]:
        shown = _show(evidence, genesis, self)
        if not self.ties(shown):
            raise not_shown()
        if shown.seq <= self.seq:
            return self, True
        return self._from(shown, genesis), shown.root_at(self.seq) == self.root

    @classmethod
    def _from(cls, shown: Shown, genesis: Genesis) -> Trust:
        # SAFETY: an electorate that is shown to have left is not taken for the present one
        # (test_trust_advance.py::test_an_electorate_that_is_shown_to_have_left_is_not_trusted).
        if shown.history.newest.epoch != shown.epoch:
            message = f"its links lead to epoch {shown.history.newest.epoch}, its certificate is of epoch {shown.epoch}"
            raise VerificationError(f"{message}: take a later one", code=NO_TRUST)
        root = shown.root_at(shown.seq)
        if root is None:
            raise VerificationError("it has no certificate", code=NO_TRUST)
        return cls(genesis.cluster_id, bare_electorate(shown.history.newest), shown.seq, root)


def _show(data: bytes, genesis: Genesis, trust: TrustState | None) -> Shown:
    if is_lineage(data):
        return prove_lineage(BytesIO(data), genesis, trust=trust).shown
    if is_snapshot(data):
        raise _no_trust("a snapshot")
    if len(data) > EVIDENCE_BYTES_MAX:
        raise malformed("this is no evidence that govraft knows")
    if not data.lstrip().startswith(b"{"):
        return prove_certificate(data, genesis, trust)[1]
    kind = _format(data)
    if kind == RECEIPT_FORMAT:
        return prove_receipt(data, genesis).shown
    if kind == PROOF_FORMAT:
        return prove_leaf(data, genesis).shown
    # SAFETY: a permit is what a thief would show (test_trust_advance.py::test_a_permit_moves_nothing).
    raise _no_trust(f"`{kind[:64]}`")


def _no_trust(what: str) -> VerificationError:
    message = f"{what} is nothing to trust: take a certificate, a receipt, a lineage export or a trust state"
    return VerificationError(message, code=NO_TRUST)


def _format(data: bytes) -> str:
    if not data.lstrip().startswith(b"{") or is_lineage(data):
        return ""
    try:
        fields: Any = msgspec.json.decode(data, type=_Head)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise malformed(f"this is no evidence that govraft knows: {in_words(error)}") from error
    return str(fields.format)
