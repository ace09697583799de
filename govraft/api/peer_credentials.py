"""Who is at the other end of a Unix socket, as the kernel says, and whether it may ask.

The kernel records the credentials at `connect`; the peer cannot forge them.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass
from typing import Protocol

from govraft.errors import InputError

__all__ = ["PeerCredentials", "PeerRules", "SocketOptions", "read_credentials"]

_UCRED = struct.Struct("iII")
_GID = struct.Struct("I")
_SO_PEERGROUPS = 59  # linux/socket.h; the socket module does not name it
_GROUPS_BYTES_MAX = 1024  # the most that socket.getsockopt passes on: 256 groups
_NOBODY_ID = 0xFFFF_FFFF  # the kernel's "unknown"


class SocketOptions(Protocol):
    """The one thing needed of a socket. Real ones and those of uvloop have it."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class PeerCredentials:
    """Credentials of a peer process. `gids` holds its primary and its supplementary groups."""

    pid: int
    uid: int
    gids: frozenset[int]


@dataclass(frozen=True, slots=True)
class PeerRules:
    """Which users and groups may ask. A peer needs one of either.

    Raises:
        InputError: Neither names anyone. Nobody wants that, and reading it as "everyone" would fail open.
    """

    uids: frozenset[int]
    gids: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        if not self.uids and not self.gids:
            raise InputError("no user and no group may use the socket: allow at least one", code="peers_empty")

    def admit(self, peer: PeerCredentials) -> bool:
        """Whether `peer` may ask."""
        return peer.uid in self.uids or not self.gids.isdisjoint(peer.gids)


def read_credentials(options: SocketOptions) -> PeerCredentials | None:
    """Ask the kernel who is at the other end.

    Returns:
        None where the kernel does not say: the caller must refuse. With more groups than can be read, only the
        primary one is given.
    """
    try:
        raw = options.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid, uid, gid = _UCRED.unpack(raw)
    except (OSError, struct.error):
        return None
    if _NOBODY_ID in {uid, gid}:
        return None
    return PeerCredentials(pid=pid, uid=uid, gids=_supplementary_groups(options) | {gid})


def _supplementary_groups(options: SocketOptions) -> frozenset[int]:
    try:
        raw = options.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES_MAX)
        return frozenset(gid for (gid,) in _GID.iter_unpack(raw))
    except (OSError, struct.error):
        return frozenset()
