"""The first frame of a peer connection, in both directions: who speaks, of which cluster, in which life of the process.

The certificate says the same and is what counts; the hello catches a node with the wrong genesis early, and its
session tells a connection of an earlier life of the same node from one of the present.
"""

from __future__ import annotations

import msgspec

from govraft.adapters.frames import CONTROL_CHANNEL, Frame, encode_frame
from govraft.core.codec.complaints import in_words
from govraft.core.model.rules import RULES_FIRST, RULES_NEWEST
from govraft.errors import DecodeError, VerificationError

__all__ = ["HELLO_BYTES_MAX", "HELLO_VERSION", "SESSION_BYTES", "Hello", "accept_hello", "encode_hello"]

HELLO_BYTES_MAX = 1024
HELLO_VERSION = 2
SESSION_BYTES = 16


class _Version(msgspec.Struct, frozen=True):
    v: int


class Hello(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`session` is random, drawn once in the life of a process; `rules` is the newest number that the node knows."""

    v: int
    cluster_id: str
    node_id: str
    session: bytes
    rules: int


def encode_hello(cluster_id: str, node_id: str, session: bytes, rules: int = RULES_NEWEST) -> bytes:
    """The bytes of a hello frame."""
    hello = Hello(HELLO_VERSION, cluster_id, node_id, session, rules)
    return encode_frame(CONTROL_CHANNEL, msgspec.msgpack.encode(hello))


def accept_hello(frame: Frame, *, cluster_id: str, node_id: str) -> Hello:
    """The hello in `frame`, if `node_id` of `cluster_id` may have sent it.

    Args:
        frame: The first frame of the connection.
        cluster_id: The own cluster.
        node_id: The member whose certificate the connection presented.

    Raises:
        DecodeError: Not a hello.
        VerificationError: Another version, cluster or node.
    """
    if frame.channel != CONTROL_CHANNEL:
        raise DecodeError(f"the first frame is on channel {frame.channel}, not a hello")
    try:
        # Its number first: another version has other fields.
        version = msgspec.msgpack.decode(frame.payload, type=_Version).v
        if version != HELLO_VERSION:
            message = f"the peer speaks version {version}, this node {HELLO_VERSION}; upgrade the older one"
            raise VerificationError(message)
        hello = msgspec.msgpack.decode(frame.payload, type=Hello)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DecodeError(f"the hello cannot be read: {in_words(error)}") from error
    if hello.cluster_id != cluster_id:
        raise VerificationError(f"the peer is of cluster `{hello.cluster_id[:64]}`; compare the genesis files")
    if hello.node_id != node_id:
        raise VerificationError(f"the certificate of `{node_id}` came with the name `{hello.node_id[:64]}`")
    if len(hello.session) != SESSION_BYTES:
        raise DecodeError("the hello's session has the wrong length")
    if hello.rules < RULES_FIRST:
        raise DecodeError("the hello's `rules` is no number of rules")
    return hello
