"""Why a node stopped for good, with the evidence: signed objects, as exact bytes.

=============  ======================================================================================================
field          what
=============  ======================================================================================================
`received`     the message that shows it: a lease of another history, a probe, or an ack of this node's own key
`own_leaf`     this node's leaf at the seq of `received`; empty if it has none
`own_lease`    the lease of the highest seq that a quorum has certified to this node; empty if there is none
`own_ack`      the newest ack of this node that it has seen come back; empty if there is none
=============  ======================================================================================================

When `own_lease` reaches the seq of a `received` lease, quorums have certified two histories: no minority can do that.
"""

from __future__ import annotations

from typing import Any

import msgspec

from govraft.core.codec.canonical import pack, unpack
from govraft.core.convergence.messages import Ack, Kind, Lease, Probe, Signed, decode_kind
from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import InputError
from govraft.ports.store import IsolationRecord

__all__ = ["Own", "isolation_view"]

_EVIDENCE_BYTES = 4 * FRAME_BYTES


class Own(msgspec.Struct, frozen=True):
    """What the node itself holds; the fields are those of the evidence."""

    leaf: bytes
    lease: bytes
    ack: bytes

    def evidence(self, received: bytes) -> bytes:
        """All of it, in one value."""
        return pack({"own_leaf": self.leaf, "own_lease": self.lease, "own_ack": self.ack, "received": received})


def isolation_view(record: IsolationRecord | None) -> dict[str, Any] | None:
    """For `status` and `govraft evidence list`: what is kept, and whether it shows two certified histories."""
    if record is None:
        return None
    try:
        kept = unpack(record.evidence, max_bytes=_EVIDENCE_BYTES)
        received, own = _state(kept["received"]), _state(kept.get("own_lease", b""))
    except (InputError, AttributeError, KeyError, TypeError):
        received = own = None
    both = received is not None and own is not None and received[0] is own[0] is Kind.LEASE
    return {
        "reason": record.reason,
        "detail": record.detail,
        "received": None if received is None else _words(*received),
        "own": None if own is None else _words(*own),
        # What this node holds at the seq of `received` differs, or it would not be isolated.
        "two_histories": both and received is not None and own is not None and own[1] >= received[1],
    }


def _state(message: bytes) -> tuple[Kind, int, bytes] | None:
    """Kind, seq and root of a signed message; None for none."""
    if not message:
        return None
    kind = decode_kind(message)
    signed = Signed.decode(message, kind)
    if kind is Kind.ACK:
        ack = Ack.decode(signed.body)
        return kind, ack.seq, ack.root
    probe = Probe.decode(Lease.decode(signed.body).probe.body if kind is Kind.LEASE else signed.body)
    return kind, probe.checkpoint.seq, probe.checkpoint.root


def _words(kind: Kind, seq: int, root: bytes) -> dict[str, Any]:
    return {"kind": kind.value, "seq": seq, "root": root.hex()}
