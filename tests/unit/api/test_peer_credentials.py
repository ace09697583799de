"""Who may ask, by what the kernel says of the peer."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from govraft.api.peer_credentials import PeerCredentials, PeerRules, read_credentials
from govraft.errors import InputError


def test_refuses_rules_without_anybody() -> None:
    with pytest.raises(InputError, match="allow at least one"):
        PeerRules(frozenset())


@pytest.mark.parametrize(
    ("peer", "admitted"),
    [
        (PeerCredentials(1, 7, frozenset({9})), True),
        (PeerCredentials(1, 8, frozenset({9})), False),
        (PeerCredentials(1, 8, frozenset({9, 5})), True),
        (PeerCredentials(1, 5, frozenset({7})), False),
    ],
)
def test_rules_compare_users_with_users_and_groups_with_groups(peer: PeerCredentials, admitted: bool) -> None:
    assert PeerRules(frozenset({7}), frozenset({5})).admit(peer) is admitted


def test_credentials_are_the_kernels() -> None:
    left, right = socket.socketpair(socket.AF_UNIX)
    with left, right:
        assert read_credentials(left) == PeerCredentials(
            os.getpid(), os.getuid(), frozenset({os.getgid(), *os.getgroups()})
        )


def test_credentials_unknown_are_none() -> None:
    class Mute:
        def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
            raise OSError

    class Nobody(Mute):
        def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes:
            return struct.pack("iII", 1, 0xFFFFFFFF, 0)

    assert read_credentials(Mute()) is None
    assert read_credentials(Nobody()) is None
