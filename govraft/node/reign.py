"""When a leader gives up: the others hold what it asks them about, and still no round comes to an end.

Its log is followed, so Raft sees nothing wrong; but whom the voters do not answer, for its wall clock or for whatever
else, keeps the cluster from every lease. Another leader may do better.

Source: protocol, "The round", after step 5.
"""

from __future__ import annotations

from collections.abc import Callable

from govraft.core.convergence.timing import LeaseTiming
from govraft.core.model.units import BoottimeNs
from govraft.node.probed import Probed
from govraft.ports.sequencer import Sequencer

__all__ = ["Reign"]

_LEASES_WITHOUT_ROUND = 2
_LEASES_ASIDE = 3
_NS_PER_S = 1_000_000_000


class Reign:
    """Watches whether this node, while it leads, completes rounds.

    Args:
        index_of: The Raft index of an applied seq.
    """

    def __init__(self, node_id: str, timing: LeaseTiming, index_of: Callable[[int], int]) -> None:
        self._node_id = node_id
        self._grant_ns = timing.grant_ns
        self._index_of = index_of
        self._of: tuple[int, int] | None = None
        self._asked: Probed | None = None
        self._since = BoottimeNs(0)

    def end(self) -> None:
        """This node does not lead."""
        self._of = self._asked = None

    def turn(self, asked: Probed, completed: int, sequencer: Sequencer, now: BoottimeNs) -> None:
        """Resign if it is time.

        Args:
            asked: The state that this node asks the others about.
            completed: How many rounds this node has completed so far.
            sequencer: The node's.
            now: Boot time.
        """
        # A newer state does not begin it anew: under a stream of commands there is always one.
        if self._asked is None or self._of != (sequencer.term, completed):
            self._of, self._asked, self._since = (sequencer.term, completed), asked, now
        if now - self._since >= _LEASES_WITHOUT_ROUND * self._grant_ns and self._is_followed(self._asked, sequencer):
            sequencer.resign(_LEASES_ASIDE * self._grant_ns / _NS_PER_S)
            self.end()

    def _is_followed(self, asked: Probed, sequencer: Sequencer) -> bool:
        """Whether voters that with this node make each quorum hold the state in their logs. A lone voter needs none."""
        held = sequencer.holders(self._index_of(asked.seq)) | {self._node_id}
        for electorate in asked.electorates:
            voters = {voter.id for voter in electorate.voters}
            if len(voters) < 2 or len(voters & held) < electorate.quorum_count:
                return False
        return True
