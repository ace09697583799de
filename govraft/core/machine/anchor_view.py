"""Anchors of the nodes' decision logs, decoded from the section `audit`.

anchor/<node id>            Anchor, the last one
anchor/<node id>/<log id>   seq at which the node began another log than this one: it never comes back
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

__all__ = ["ANCHOR_PREFIX", "Anchor", "AnchorsView", "former_log_key"]

ANCHOR_PREFIX = "anchor/"


class Anchor(msgspec.Struct, frozen=True):
    """The head of a node's decision log, as the node last put it on record.

    Attributes:
        node: Whose log.
        log: Id of the log, 32 hexadecimal digits.
        size: Records in it.
        root: RFC 6962 root over them, 32 bytes.
        previous: Id of the node's log before this one, empty if this is its first.
        seq, time: Of the entry.
    """

    node: str
    log: str
    size: int
    root: bytes
    previous: str
    seq: int
    time: int


_decode = msgspec.msgpack.Decoder(Anchor).decode


def former_log_key(node: str, log: str) -> str:
    """Key of what says that a node has given up a log. A node id holds no slash."""
    return f"{ANCHOR_PREFIX}{node}/{log}"


class AnchorsView:
    """The last anchor of each node."""

    def __init__(self) -> None:
        self._by_node: dict[str, Anchor] = {}
        self._former: dict[str, dict[str, None]] = {}

    @property
    def by_node(self) -> Mapping[str, Anchor]:
        """Anchors by node id."""
        return self._by_node

    def former(self, node: str) -> Collection[str]:
        """Ids of the logs that a node has anchored, and given up for another one."""
        return self._former.get(node, {})

    def note(self, key: str, value: bytes | None) -> None:
        """Take over a change of the section."""
        name, _, log = key[len(ANCHOR_PREFIX) :].partition("/")
        if log:
            self._former.setdefault(name, {})[log] = None
        elif value is None:
            self._by_node.pop(name, None)
        else:
            self._by_node[name] = _decode(value)
