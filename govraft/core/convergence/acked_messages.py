"""What have you acked, and what have you seen me sign? Asked at each start, and answered by every member.

The nonce ties an answer to its question, so that a late answer to an earlier life says nothing to this one.

Source: protocol, "Stores".
"""

from __future__ import annotations

from typing import Any

import msgspec

from govraft.core.codec.canonical import pack, unpack
from govraft.core.convergence.messages import NONCE_BYTES
from govraft.core.model.limits import FRAME_BYTES
from govraft.errors import DecodeError

__all__ = ["AckedAnswer", "AckedRequest"]

_ROOT_BYTES = 32
_SEQ_MAX = 2**63 - 1


class AckedRequest(msgspec.Struct, frozen=True):
    """Asks a member for the highest seq that it ever acked, and for an ack of the one who asks.

    Attributes:
        nonce: 16 random bytes.
    """

    nonce: bytes

    def encode(self) -> bytes:
        return pack({"nonce": self.nonce})

    @classmethod
    def decode(cls, body: bytes) -> AckedRequest:
        """Raises: DecodeError."""
        return cls(_nonce(_fields(body, ("nonce",), "acked request")["nonce"]))


class AckedAnswer(msgspec.Struct, frozen=True):
    """The answer of one member.

    Attributes:
        nonce: Of the request.
        seq: The highest that it ever acked, as far as its store knows; 0 for none.
        root: The root that it signed there; empty for none.
        forgetful: Whether its store may have forgotten what it acked, so that `seq` rules nothing out.
        shown: The newest ack of the asker that it has seen, as signed; empty for none.
    """

    nonce: bytes
    seq: int
    root: bytes
    forgetful: bool
    shown: bytes

    def encode(self) -> bytes:
        return pack(msgspec.structs.asdict(self))

    @classmethod
    def decode(cls, body: bytes) -> AckedAnswer:
        """Raises: DecodeError."""
        fields = _fields(body, cls.__struct_fields__, "acked answer")
        seq, root = fields["seq"], fields["root"]
        if type(seq) is not int or not 0 <= seq <= _SEQ_MAX:
            raise DecodeError("acked answer has a `seq` that is none")
        if type(root) is not bytes or len(root) != (_ROOT_BYTES if seq else 0):
            raise DecodeError("acked answer has a `root` of the wrong length")
        if type(fields["forgetful"]) is not bool or type(fields["shown"]) is not bytes:
            raise DecodeError("acked answer has a field of the wrong type")
        return cls(_nonce(fields["nonce"]), seq, root, fields["forgetful"], fields["shown"])


def _fields(body: bytes, names: tuple[str, ...], what: str) -> dict[str, Any]:
    value = unpack(body, max_bytes=FRAME_BYTES)
    if not isinstance(value, dict) or value.keys() != set(names):
        raise DecodeError(f"{what} must have exactly the fields {', '.join(sorted(names))}")
    return value


def _nonce(value: object) -> bytes:
    if type(value) is not bytes or len(value) != NONCE_BYTES:
        raise DecodeError(f"a nonce must have {NONCE_BYTES} bytes")
    return value
