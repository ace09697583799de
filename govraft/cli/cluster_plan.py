"""What a cluster shall look like, before it has keys: read from a description, or built from options.

A description is TOML. Example::

    [cluster]
    name = "local-3"
    quorum = "majority"             # or "byzantine"
    profile = "lan"                 # or "wan"
    lease_ms = 1000                 # optional, as are the next two; the profile has defaults
    clock_drift_max_ppm = 10000
    clock_skew_max_ms = 500

    [[nodes]]
    id = "node-1"                   # without an address: on this host, on a free port
    [[nodes]]
    id = "node-2"
    address = "10.0.0.2:7101"       # where the other members dial it
    listen = "0.0.0.0:7101"         # optional: where it listens, if that differs

    [authorities]                   # how many keys hold a role, and how many of them a command needs
    root = { keys = 3, threshold = 2 }
    policy = { keys = 2, threshold = 2 }
    operator = { keys = 1, threshold = 1 }
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec

from govraft.core.model import limits
from govraft.core.model.authority import Role
from govraft.core.model.electorate import QuorumRule
from govraft.core.model.ids import NODE_ID_PATTERN
from govraft.errors import ConfigError, InputError
from govraft.node.config import PROFILES, parse_address

__all__ = ["AUTHORITIES", "Allotment", "ClusterPlan", "PlannedNode", "load_plan", "plan_cluster"]

_PLAN_BYTES_MAX = 1024 * 1024


class Allotment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many keys hold a role, and how many of them a command needs."""

    keys: int
    threshold: int


class PlannedNode(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One voter. Without an `address` it gets a free port of this host."""

    id: str
    address: str | None = None
    listen: str | None = None


class _Timing(msgspec.Struct, frozen=True):
    lease_ms: int
    clock_skew_max_ms: int


_TIMINGS = {"lan": _Timing(1_000, 500), "wan": _Timing(4_000, 1_000)}
_DRIFT_PPM = 10_000

AUTHORITIES = {Role.ROOT: Allotment(3, 2), Role.POLICY: Allotment(2, 2), Role.OPERATOR: Allotment(1, 1)}
"""What a cluster gets if nothing else is said: no single key can change the root or the policies."""


class _Cluster(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    quorum: QuorumRule = QuorumRule.MAJORITY
    profile: str = "lan"
    lease_ms: int | None = None
    clock_drift_max_ppm: int = _DRIFT_PPM
    clock_skew_max_ms: int | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    cluster: _Cluster
    nodes: list[PlannedNode]
    authorities: dict[Role, Allotment] = {}


class ClusterPlan(msgspec.Struct, frozen=True):
    """A description that has been checked, defaults filled in. Times in ms, drift in parts per million."""

    name: str
    quorum: QuorumRule
    profile: str
    lease_ms: int
    clock_drift_max_ppm: int
    clock_skew_max_ms: int
    nodes: tuple[PlannedNode, ...]
    authorities: dict[Role, Allotment]


def plan_cluster(*, name: str, nodes: int, quorum: QuorumRule, profile: str) -> ClusterPlan:
    """A cluster of `nodes` voters on this host, with the usual authorities.

    Raises:
        InputError: The number of nodes or the profile is not usable.
    """
    planned = [PlannedNode(f"node-{number}") for number in range(1, nodes + 1)]
    try:
        return _check(_File(_Cluster(name, quorum, profile), planned), "")
    except ConfigError as error:
        raise InputError(str(error).removeprefix(": ")) from error


def load_plan(path: Path) -> ClusterPlan:
    """Read a description.

    Raises:
        ConfigError: It cannot be read or used; names the file and the key.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(_PLAN_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", file=str(path)) from error
    if len(text) > _PLAN_BYTES_MAX:
        raise ConfigError(f"is larger than {_PLAN_BYTES_MAX} bytes", file=str(path))
    try:
        parsed = msgspec.convert(tomllib.loads(text.decode()), _File)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"is not valid TOML: {error}", file=str(path)) from error
    except msgspec.ValidationError as error:
        message, _, key = str(error).rpartition(" - at `$.")
        raise ConfigError(message or str(error), file=str(path), key=key.rstrip("`") if message else "") from error
    return _check(parsed, str(path))


def _check(parsed: _File, file: str) -> ClusterPlan:
    cluster = parsed.cluster
    if cluster.profile not in PROFILES:
        message = f"`{cluster.profile}` is unknown; choose one of {', '.join(PROFILES)}"
        raise ConfigError(message, file=file, key="cluster.profile")
    timing = _TIMINGS[cluster.profile]
    _check_nodes(parsed.nodes, file)
    authorities = {**AUTHORITIES, **parsed.authorities}
    for role, allotment in authorities.items():
        if not 1 <= allotment.threshold <= allotment.keys <= limits.SIGNATURES_PER_ENVELOPE:
            message = f"needs 1 <= threshold <= keys <= {limits.SIGNATURES_PER_ENVELOPE}"
            raise ConfigError(message, file=file, key=f"authorities.{role.value}")
    return ClusterPlan(
        name=cluster.name,
        quorum=cluster.quorum,
        profile=cluster.profile,
        lease_ms=timing.lease_ms if cluster.lease_ms is None else cluster.lease_ms,
        clock_drift_max_ppm=cluster.clock_drift_max_ppm,
        clock_skew_max_ms=timing.clock_skew_max_ms if cluster.clock_skew_max_ms is None else cluster.clock_skew_max_ms,
        nodes=tuple(sorted(parsed.nodes, key=lambda node: node.id)),
        authorities=authorities,
    )


def _check_nodes(nodes: list[PlannedNode], file: str) -> None:
    if not 1 <= len(nodes) <= limits.VOTERS:
        raise ConfigError(f"a cluster has 1 to {limits.VOTERS} voters, not {len(nodes)}", file=file, key="nodes")
    if len({node.id for node in nodes}) != len(nodes):
        raise ConfigError("two nodes have the same id", file=file, key="nodes")
    for node in nodes:
        # The id names directories and files as well; the pattern leaves no `/` and no leading dot.
        if re.match(NODE_ID_PATTERN, node.id) is None:
            raise ConfigError(f"`{node.id[:80]}` is not a node id", file=file, key="nodes.id")
        if node.listen is not None and node.address is None:
            raise ConfigError(
                f"`{node.id}` listens at an address of its own; say where it is dialled", file=file, key="nodes.address"
            )
        for text in (node.address, node.listen):
            if text is not None:
                parse_address(text, file=file, key="nodes.address")
