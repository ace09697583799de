"""Checkpoints, cosignatures and signed notes, byte for byte as C2SP defines them.

A quorum certificate (QC) is a signed note: a checkpoint body, a blank line, and one cosignature line a node.
Any stock C2SP tool reads it. This module parses and prints; whether a note *proves* something is decided in
`core/convergence/certificate.py`.

Source: C2SP `tlog-checkpoint`, `tlog-cosignature` (cosignature/v1), `signed-note`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

import msgspec

from govraft.core.model import limits
from govraft.errors import DecodeError

__all__ = [
    "Checkpoint",
    "Note",
    "NoteSignature",
    "cosignature_key_id",
    "cosigned_message",
    "format_note",
    "parse_note",
]

NOTE_BYTES_MAX = 64 * 1024
COSIGNATURE_V1 = 0x04
BLOB_BYTES = 4 + 8 + 64
_DASH = "— "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")
_TIME_S_MAX = 2**63 - 1


class Checkpoint(msgspec.Struct, frozen=True):
    """A lineage of `seq` leaves has the Merkle root `root` (32 bytes).

    `origin` names the cluster: `govraft.dev/<cluster id>`.
    """

    origin: str
    seq: int
    root: bytes

    def encode(self) -> bytes:
        """The body that is signed: three lines, each ending in a newline."""
        return f"{self.origin}\n{self.seq}\n{base64.b64encode(self.root).decode()}\n".encode()

    @classmethod
    def decode(cls, body: bytes) -> Checkpoint:
        """Read a body back.

        Extension lines, which C2SP permits, are refused: govraft writes none, and what a node does not
        understand it must not cosign.

        Raises:
            DecodeError: Not exactly the three lines that `encode` writes.
        """
        lines = _decode_text(body).split("\n")
        if len(lines) != 4 or lines[3]:
            raise DecodeError("checkpoint must be exactly three lines; get the note again from a node")
        origin, size, root = lines[:3]
        if not origin or not _SIZE.match(size):
            raise DecodeError("checkpoint needs an origin and a decimal size")
        checkpoint = cls(origin, int(size), _decode_base64(root, 32))
        if checkpoint.encode() != body:
            raise DecodeError("checkpoint is not in canonical form")
        return checkpoint


class NoteSignature(msgspec.Struct, frozen=True):
    """One cosignature line: key name, key id (4 bytes), Unix time in seconds, Ed25519 signature (64 bytes)."""

    name: str
    key_id: bytes
    time_s: int
    signature: bytes


class Note(msgspec.Struct, frozen=True):
    """A parsed, unverified note.

    Attributes:
        body: The exact signed text.
        signatures: Its cosignatures.
        others: Name and key id of each line whose signature has not the shape of a cosignature. Such a line is of an
            unknown kind and counts for nothing; but one that claims to be of a known key is a bad signature of it.
    """

    body: bytes
    signatures: tuple[NoteSignature, ...]
    others: tuple[tuple[str, bytes], ...] = ()


def cosignature_key_id(name: str, public_key: bytes) -> bytes:
    """First four bytes of `SHA256(name ‖ 0x0A ‖ 0x04 ‖ public_key)`."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([COSIGNATURE_V1]) + public_key).digest()[:4]


def cosigned_message(body: bytes, time_s: int) -> bytes:
    """What a cosigner signs over a checkpoint body at a Unix time in seconds."""
    return b"cosignature/v1\ntime %d\n" % time_s + body


def format_note(note: Note) -> bytes:
    """Print a note; the inverse of `parse_note` but for lines of an unknown kind."""
    lines = [note.body.decode(), "\n"]
    for item in note.signatures:
        blob = item.key_id + item.time_s.to_bytes(8, "big") + item.signature
        lines.append(f"{_DASH}{item.name} {base64.b64encode(blob).decode()}\n")
    return "".join(lines).encode()


def parse_note(text: bytes) -> Note:
    """Parse a signed note.

    Raises:
        DecodeError: The text is not a signed note.
    """
    if len(text) > NOTE_BYTES_MAX:
        raise DecodeError(f"note has {len(text)} bytes; at most {NOTE_BYTES_MAX} are read")
    decoded = _decode_text(text)
    split = decoded.rfind("\n\n")
    if split < 0 or not decoded.endswith("\n"):
        raise DecodeError("note lacks the blank line before its signatures")
    body, tail = decoded[: split + 1], decoded[split + 2 :]
    lines = tail.split("\n")[:-1]
    if not lines or len(lines) > limits.SIGNATURES_PER_ENVELOPE:
        raise DecodeError(f"note has {len(lines)} signature lines; 1 to {limits.SIGNATURES_PER_ENVELOPE} are read")
    parsed = [_parse_signature(line) for line in lines]
    return Note(
        body.encode(),
        tuple(item for item in parsed if isinstance(item, NoteSignature)),
        tuple(item for item in parsed if not isinstance(item, NoteSignature)),
    )


def _parse_signature(line: str) -> NoteSignature | tuple[str, bytes]:
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2 or not _is_key_name(parts[0]):
        raise DecodeError("note has a malformed signature line")
    blob = _decode_base64(parts[1], None)
    if len(blob) < 5:
        raise DecodeError("note has a signature that is too short")
    time_s = int.from_bytes(blob[4:12], "big")
    if len(blob) != BLOB_BYTES or time_s > _TIME_S_MAX:
        return parts[0], blob[:4]
    return NoteSignature(parts[0], blob[:4], time_s, blob[12:])


def _is_key_name(text: str) -> bool:
    return bool(text) and "+" not in text and not any(character.isspace() for character in text)


def _decode_text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DecodeError("note is not UTF-8") from error
    if _CONTROL.search(text):
        raise DecodeError("note has control characters")
    return text


def _decode_base64(text: str, size: int | None) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError("note has malformed base64") from error
    if base64.b64encode(data).decode() != text or (size is not None and len(data) != size):
        raise DecodeError("note has base64 of the wrong length or form")
    return data
