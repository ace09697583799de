"""Where the node is."""

from __future__ import annotations

import os

from govraft.errors import InputError

__all__ = ["DEFAULT_ENDPOINT", "ENDPOINT_VARIABLE", "resolve_endpoint"]

DEFAULT_ENDPOINT = "unix:///run/govraft/govraft.sock"
ENDPOINT_VARIABLE = "GOVRAFT_ENDPOINT"

_SCHEME = "unix://"
_PATH_BYTES_MAX = 107  # sockaddr_un.sun_path, less its end mark


def resolve_endpoint(endpoint: str | None) -> str:
    """Find the path of the node's socket.

    Args:
        endpoint: `unix:///path/to.sock`; None for the one in `GOVRAFT_ENDPOINT`, or else the default.

    Raises:
        InputError: Not a `unix://` endpoint with an absolute path that fits into a socket address.
    """
    text = endpoint if endpoint is not None else os.environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT
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
