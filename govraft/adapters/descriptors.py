"""How many files and sockets a node may open, and how many clients that is enough for."""

from __future__ import annotations

import resource

import structlog

from govraft.core.model.limits import CLIENTS

__all__ = ["clients_max", "raise_limit"]

_DESCRIPTORS = 4_096
_RESERVED = 256
"""For the members' links, strangers at their port, the database, and the children that examine proposals."""

_log = structlog.get_logger()


def raise_limit() -> None:
    """Clients, peers, the database: a node needs more descriptors than the usual soft limit of 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def clients_max() -> int:
    """How many clients the descriptors suffice for, with some left for everything else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= CLIENTS + _RESERVED:
        return CLIENTS
    allowed = max(1, soft - _RESERVED)
    _log.warning("few descriptors", limit=soft, clients=allowed, next="raise `ulimit -n` or LimitNOFILE to 2048")
    return allowed
