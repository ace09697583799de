"""How client and node begin: which protocol, which additions, and whether they read the same clock. No I/O.

A call `hello` without `protocols` is answered in protocol 1, byte for byte as ever. With `protocols` the node chooses
the highest that both speak, and in protocol 2 names its features and shows its clock. A node of protocol 1 refuses the
field; the client then greets it again without.

Protocol 2 is the last number. What comes later is a *feature*: the node names it in `FEATURES`, and a client sends the
fields that belong to it (`Question.requires`) only to a node that has named it.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from govraft.api.wire_types import CallId, Name

__all__ = ["FEATURES", "PROTOCOLS", "Hello", "Hello2", "HelloCall", "choose_protocol"]

PROTOCOLS = (1, 2)
"""What this program speaks, as client and as node."""

FEATURES: tuple[str, ...] = ()
"""What a node of this version offers beyond protocol 2. A name is never taken back and never changes its meaning."""

_FIRST_ONLY = (1,)
_PROTOCOLS_MAX = 64
_FEATURES_MAX = 1_024


class HelloCall(
    msgspec.Struct, frozen=True, tag="hello", tag_field="op", forbid_unknown_fields=True, omit_defaults=True
):
    """Asks who answers, and in which protocol. `protocols`: what the client speaks, in any order."""

    id: CallId
    protocols: Annotated[tuple[int, ...], msgspec.Meta(max_length=_PROTOCOLS_MAX)] = _FIRST_ONLY


class Hello(msgspec.Struct, frozen=True):
    """Who answers. `cluster` is the cluster id, hex; `node` the node's id."""

    protocol: int
    node: str
    cluster: str


class Hello2(Hello, frozen=True):
    """The same in protocol 2.

    Attributes:
        features: What the node offers beyond the protocol; a client passes over names that it does not know.
        boot_id: Of the node's kernel, as in /proc/sys/kernel/random/boot_id; empty if the node cannot read it.
        time_ns: CLOCK_BOOTTIME of the node while it answered, ns; 0 if the node cannot read it.
    """

    features: Annotated[list[Name], msgspec.Meta(max_length=_FEATURES_MAX)]
    boot_id: str
    time_ns: int


def choose_protocol(offered: tuple[int, ...]) -> int | None:
    """The highest protocol that both speak; None if there is none."""
    return max((number for number in offered if number in PROTOCOLS), default=None)
