"""A decision log, or a stretch of one, in a file that shows whether a record was changed.

JSON Lines, each canonical:

    {"format": "govraft.decisions.v1", "cluster": …, "node": …, "log": …, "first": 0, "last": 3, "before": []}
    {"index": 0, "kind": "decision", …}                one line for each record from `first` to the one before `last`
    …
    {"size": 5, "root": hex, "proof": [hex, …], "anchors": [{"size": 4, "root": hex, "seq": 17, "proof": [hex, …]}]}

`before` holds the hashes of the complete subtrees over the records before `first`, largest first, so that the root at
`last` follows from the file. `proof` shows that the log of `size` records and that `root`, its head at the time of the
export, extends it. An anchor is a head that the node put on record in the lineage, at that seq: one within the file
needs no proof, one after it proves that it extends the file.

The file alone shows only that it belongs together. What makes its records the ones that were logged is an anchor
whose seq is in a lineage that is proven from the genesis.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from govraft.core.codec.canonical import pack_json, unpack_json
from govraft.core.codec.complaints import in_words
from govraft.core.lineage.frontier import Frontier
from govraft.core.lineage.proofs import verify_consistency
from govraft.core.model.limits import RECORD_BYTES
from govraft.errors import InputError, LineageError, VerificationError

__all__ = [
    "DECISIONS_FORMAT",
    "LINE_BYTES_MAX",
    "ExportAnchor",
    "ExportEnd",
    "ExportHeader",
    "FileAnchor",
    "begin_frontier",
    "decode_end",
    "decode_header",
    "encode_end",
    "encode_header",
    "verify_head",
]

DECISIONS_FORMAT = "govraft.decisions.v1"
LINE_BYTES_MAX = 2 * RECORD_BYTES

_Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Natural = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Nodes = Annotated[list[_Hex], msgspec.Meta(max_length=128)]


class ExportHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line. `first` and `last` are places in the log, `last` not included."""

    format: Literal["govraft.decisions.v1"]
    cluster: str
    node: str
    log: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    first: _Natural
    last: _Natural
    before: _Nodes


class FileAnchor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A head of the log that the lineage holds at `seq`, as the file has it."""

    size: _Natural
    root: _Hex
    seq: _Natural
    proof: _Nodes


class ExportEnd(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line."""

    size: _Natural
    root: _Hex
    proof: _Nodes
    anchors: list[FileAnchor]


class ExportAnchor(NamedTuple):
    """An anchor to be exported; `proof` is empty for one within the exported stretch."""

    size: int
    root: bytes
    seq: int
    proof: Sequence[bytes] = ()


def encode_header(*, cluster: str, node: str, log: str, first: int, last: int, before: Iterable[bytes]) -> bytes:
    """The first line of an export."""
    return _line(
        {
            "format": DECISIONS_FORMAT,
            "cluster": cluster,
            "node": node,
            "log": log,
            "first": first,
            "last": last,
            "before": _hex(before),
        }
    )


def encode_end(*, size: int, root: bytes, proof: Iterable[bytes], anchors: Iterable[ExportAnchor]) -> bytes:
    """The last line of an export."""
    shown = [
        {"size": item.size, "root": item.root.hex(), "seq": item.seq, "proof": _hex(item.proof)} for item in anchors
    ]
    return _line({"size": size, "root": root.hex(), "proof": _hex(proof), "anchors": shown})


def decode_header(line: bytes) -> ExportHeader:
    """Read the first line.

    Raises:
        VerificationError: It is not that of a decision export.
    """
    header: ExportHeader = _decode(line, ExportHeader, "the first line is not that of a decision export")
    if header.last < header.first:
        raise VerificationError("the export ends before it begins", code="evidence_malformed")
    return header


def decode_end(line: bytes) -> ExportEnd:
    """Read the last line. Raises `VerificationError` when it is something else: the file was cut off."""
    end: ExportEnd = _decode(line, ExportEnd, "the last line is not that of a decision export: it was cut off")
    return end


def begin_frontier(header: ExportHeader) -> Frontier:
    """The tree before the first record of the file.

    Raises:
        LineageError: `before` belongs to no log of `first` records.
    """
    return Frontier(header.first, [bytes.fromhex(node) for node in header.before])


def verify_head(header: ExportHeader, end: ExportEnd, root: bytes) -> None:
    """Verify that the head, and the anchors after the file, extend the log as the file has it.

    Args:
        header: Of the file.
        end: Of the file.
        root: That follows from the records, at `header.last`.

    Raises:
        LineageError: They do not.
    """
    verify_consistency(header.last, root, end.size, bytes.fromhex(end.root), _bytes(end.proof))
    for anchor in end.anchors:
        if anchor.size > header.last:
            verify_consistency(header.last, root, anchor.size, bytes.fromhex(anchor.root), _bytes(anchor.proof))
        elif anchor.proof:
            raise LineageError(f"the anchor of seq {anchor.seq} lies within the file and takes no proof")


def _decode(line: bytes, shape: Any, complaint: str) -> Any:
    try:
        return msgspec.convert(unpack_json(line.rstrip(b"\n"), max_bytes=LINE_BYTES_MAX), shape)
    except (InputError, msgspec.ValidationError) as error:
        raise VerificationError(f"{complaint}: {in_words(error)}", code="evidence_malformed") from error


def _line(value: dict[str, Any]) -> bytes:
    return pack_json(value) + b"\n"


def _hex(nodes: Iterable[bytes]) -> list[str]:
    return [node.hex() for node in nodes]


def _bytes(nodes: Iterable[str]) -> list[bytes]:
    return [bytes.fromhex(node) for node in nodes]
