"""A decoder with a planted fault, to see that the fuzzer finds one. Not part of `--all`."""

from __future__ import annotations

from fuzzing.target import Target
from fuzzing.world import world
from govraft.core.codec.envelope import decode_envelope
from govraft.errors import InputError

__all__ = ["TARGET"]


def _run(data: bytes) -> bool:
    """The envelope decoder, but a second signature of another length than the first one's is not expected."""
    try:
        envelope = decode_envelope(data)
    except InputError:
        return False
    lengths = {len(part.signature) for part in envelope.signatures}
    if len(envelope.signatures) > 1 and len(lengths) > 1:
        raise IndexError("the planted fault")
    return True


TARGET = Target(
    "planted",
    "an envelope decoder with a planted fault: must be found",
    _run,
    lambda: world().envelopes[4:6],
    "json",
    ("govraft.core.codec.envelope",),
)
