"""A file system of a few MiB for the data of each node, seen by this process and its children only.

The process takes itself a mount namespace of its own: what is mounted there is gone with the last process in it, so
that nothing stays behind even after SIGKILL.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator

from govraft.testing.local_cluster import LocalCluster
from govraft.testing.local_cluster_errors import ClusterError

__all__ = ["small_file_systems"]

_SIZE_MIB = 48
_NEW_MOUNT_NAMESPACE = 0x00020000
_COMMAND_S = 20.0


@contextlib.contextmanager
def small_file_systems(cluster: LocalCluster) -> Iterator[None]:
    """Give each node of a cluster that does not run one for its data. For a process without other threads yet.

    Raises:
        ClusterError: The kernel refuses.
    """
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_MOUNT_NAMESPACE) != 0:
        raise ClusterError(f"no mount namespace: {os.strerror(ctypes.get_errno())}", code="mounts_refused")
    _run("mount", "--make-rprivate", "/")
    mounted = []
    try:
        for node in cluster.nodes.values():
            place = node.database.parent
            place.mkdir(mode=0o700, exist_ok=True)
            # What is there already, such as an empty store, moves into the new file system.
            files = {path.name: path.read_bytes() for path in place.iterdir()}
            _run("mount", "-t", "tmpfs", "-o", f"size={_SIZE_MIB}m,mode=0700", "govraft-chaos", str(place))
            mounted.append(place)
            for name, content in files.items():
                (place / name).write_bytes(content)
                (place / name).chmod(0o600)
        yield
    finally:
        for node in cluster.nodes.values():
            node.kill()
        for place in mounted:
            _run("umount", "--lazy", str(place))


def _run(*command: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own words only
        command, capture_output=True, text=True, timeout=_COMMAND_S, check=False
    )
    if done.returncode != 0:
        raise ClusterError(f"`{command[0]}` failed: {done.stderr.strip()}", code="mounts_refused")
