"""What a cluster of real processes on this host can fail with.

::

    ClusterError                 everything below, and what the machine does not allow
    ├── ClusterTimeoutError      what should have happened did not, in time
    └── NodeExitedError          a node that should run has ended; the message holds what it said last
"""

from __future__ import annotations

from govraft.errors import GovraftError

__all__ = ["ClusterError", "ClusterTimeoutError", "NodeExitedError"]


class ClusterError(GovraftError):
    """The cluster under test cannot do what was asked."""

    default_code = "cluster_failed"


class ClusterTimeoutError(ClusterError):
    """Something did not come to pass within its time."""

    default_code = "cluster_timeout"


class NodeExitedError(ClusterError):
    """A node ended by itself, or was not started."""

    default_code = "node_exited"
