"""The engine's time-outs and the relations between them."""

from __future__ import annotations

from dataclasses import dataclass

from govraft.errors import InputError

__all__ = ["EngineTiming"]

HEARTBEATS_PER_ELECTION = 3


@dataclass(frozen=True, slots=True)
class EngineTiming:
    """Time-outs of one cluster, in seconds. They steer progress only; no guarantee rests on them.

    Attributes:
        heartbeat_s: A leader sends to each peer at least this often. Lower finds a dead leader sooner and costs
            idle work.
        election_min_s: A member that heard nothing for this long may ask for an election, and a leader that heard
            no quorum for this long steps down. More than three heartbeats, or one late frame costs the leader.
        election_max_s: Upper end of the random election time-out. The wider the range, the rarer a split vote.
        lease_s: Frames raise the term by much at most once in so long. Shorter lets a faulty member use up the terms
            sooner.
    """

    heartbeat_s: float
    election_min_s: float
    election_max_s: float
    lease_s: float

    def __post_init__(self) -> None:
        """Refuse time-outs that cannot work together.

        Raises:
            InputError: A relation does not hold.
        """
        if not self.heartbeat_s > 0:
            raise InputError(f"heartbeat `{self.heartbeat_s}` s is not positive, choose e.g. 0.1")
        if not self.election_min_s > self.heartbeat_s * HEARTBEATS_PER_ELECTION:
            raise InputError(
                f"election time-out `{self.election_min_s}` s must be above {HEARTBEATS_PER_ELECTION} heartbeats of "
                f"`{self.heartbeat_s}` s, raise it"
            )
        if not self.election_max_s > self.election_min_s:
            raise InputError(
                f"election time-outs `{self.election_min_s}` to `{self.election_max_s}` s leave no range, raise the "
                "second"
            )
        if not self.lease_s > 0:
            raise InputError(f"lease `{self.lease_s}` s is not positive, choose that of the cluster")
