"""Where the node is."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from govraft.errors import InputError

__all__ = ["CLUSTER_VARIABLE", "DEFAULT_ENDPOINT", "ENDPOINT_VARIABLE", "resolve_endpoint"]

DEFAULT_ENDPOINT = "unix:///run/govraft/govraft.sock"
ENDPOINT_VARIABLE = "GOVRAFT_ENDPOINT"
CLUSTER_VARIABLE = "GOVRAFT_CLUSTER"

_SCHEME = "unix://"
_PATH_BYTES_MAX = 107  # sockaddr_un.sun_path, less its end mark


def resolve_endpoint(endpoint: str | None) -> str:
    """Find the path of the node's socket.

    Args:
        endpoint: `unix:///path/to.sock`; None for the one in `GOVRAFT_ENDPOINT`, else for a node of the cluster that
            `govraft init` made in `GOVRAFT_CLUSTER`, else for the default.

    Raises:
        InputError: Not a `unix://` endpoint with an absolute path that fits into a socket address; or
            `GOVRAFT_CLUSTER` is no such directory.
    """
    text = endpoint
    if text is None:
        text = os.environ.get(ENDPOINT_VARIABLE) or _node_of_cluster() or DEFAULT_ENDPOINT
    if not isinstance(text, str) or not text.startswith(_SCHEME):
        raise InputError(f"endpoint `{text}` is not supported: use `unix:///path/to.sock`", code="endpoint_invalid")
    path = text.removeprefix(_SCHEME)
    if not path.startswith("/") or "\0" in path:
        raise InputError(f"endpoint `{text}` has no absolute path: use `unix:///path/to.sock`", code="endpoint_invalid")
    if len(os.fsencode(path)) > _PATH_BYTES_MAX:
        raise InputError(
            f"endpoint `{text}` is too long for a socket: use at most {_PATH_BYTES_MAX} bytes", code="endpoint_invalid"
        )
    return path


class _Node(msgspec.Struct):
    socket: str
    removed: bool = False


class _Cluster(msgspec.Struct):
    nodes: list[_Node]


def _node_of_cluster() -> str | None:
    """The endpoint of the first node in `GOVRAFT_CLUSTER` that has a socket; of the first one if none has."""
    directory = os.environ.get(CLUSTER_VARIABLE)
    if not directory:
        return None
    base = Path(directory).absolute()
    try:
        nodes = msgspec.json.decode((base / "cluster.json").read_bytes(), type=_Cluster).nodes
        sockets = [base / node.socket for node in nodes if not node.removed]
        found = next((path for path in sockets if path.is_socket()), sockets[0])
    except (OSError, ValueError, IndexError, RecursionError) as error:
        message = f"`{CLUSTER_VARIABLE}` is `{directory}`, which is no directory that `govraft init` made"
        raise InputError(message, code="endpoint_invalid") from error
    return f"{_SCHEME}{found}"
