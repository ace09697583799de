"""Every kind of fault, and how often each profile draws it.

`faults.py` knows what each does. A fault's length is drawn in leases: they are what the protocol's time is made of.
"""

from __future__ import annotations

import msgspec

__all__ = ["FAULTS", "PROFILES", "FaultKind", "Profile"]


class FaultKind(msgspec.Struct, frozen=True):
    """One kind.

    Attributes:
        group: `network`, `clock`, `wall`, `process`, `disk`, `loss`, `frame`, `lie`, `member`, `command` or `script`.
        weight: How often it is drawn, beside others of its group.
        for_leases: Range of its length.
        nodes: How many nodes the plan names: `none`, `one`, `two` or `some`.
        amount: Range of its size.
    """

    group: str
    weight: float = 1.0
    for_leases: tuple[float, float] = (0.3, 4.0)
    nodes: str = "one"
    amount: tuple[int, int] = (0, 1)


class Profile(msgspec.Struct, frozen=True):
    """A mix of faults.

    Attributes:
        groups: Weight of each group.
        gaps_in_leases: Choices for the mean time between two faults.
    """

    groups: dict[str, float]
    gaps_in_leases: tuple[float, ...]

    def weight(self, kind: FaultKind) -> float:
        """How often a kind is drawn."""
        return self.groups.get(kind.group, 0.0) * kind.weight


_SHORT = (0.05, 0.6)

FAULTS: dict[str, FaultKind] = {
    # Links. A group is cut off; the leader is; one direction; a node that hears nobody, or is heard by nobody.
    "partition": FaultKind("network", 2.0, nodes="some"),
    "isolate_leader": FaultKind("network", 2.0, nodes="none"),
    "isolate_after_append": FaultKind("network", 2.0, nodes="none"),
    "one_way": FaultKind("network", nodes="two"),
    "half_deaf": FaultKind("network"),
    "half_mute": FaultKind("network"),
    "bridge": FaultKind("network", nodes="some"),
    "clog": FaultKind("network", nodes="two"),
    "swizzle": FaultKind("network", for_leases=(1.0, 5.0), nodes="some"),
    "flap": FaultKind("network", nodes="two"),
    "loss": FaultKind("network", nodes="none", amount=(5, 40)),
    "delay": FaultKind("network", nodes="none", amount=(5, 90)),
    "duplication": FaultKind("network", nodes="none", amount=(10, 50)),
    "reordering": FaultKind("network", nodes="none", amount=(5, 90)),
    "late_frames": FaultKind("network", nodes="none", amount=(2, 20)),
    # Clocks, and processes that stand still.
    "wall_step": FaultKind("clock", amount=(-6_000, 6_000)),
    "rate_change": FaultKind("clock", amount=(-100, 100)),
    "pause": FaultKind("clock", for_leases=_SHORT),
    "long_pause": FaultKind("clock", 2.0, for_leases=(1.05, 3.0)),
    "suspend": FaultKind("clock", for_leases=(0.5, 4.0)),
    # A wall clock that is set wrong and left so, for longer than any lease.
    "wall_wrong": FaultKind("wall", 4.0, for_leases=(4.0, 20.0), amount=(60_000, 7_200_000)),
    # Processes. A crash point names the step of persistence before which the node dies.
    "crash": FaultKind("process", 2.0, amount=(0, 1)),
    "restart": FaultKind("process", for_leases=(0.0, 0.05)),
    "rolling_restart": FaultKind("process", 0.5, for_leases=(1.0, 4.0), nodes="none"),
    "cold_restart": FaultKind("process", 0.5, for_leases=(0.02, 2.0), nodes="none"),
    "power_loss": FaultKind("process", 1.5, for_leases=(0.02, 2.0), nodes="some"),
    "restart_around": FaultKind("process", 1.5, for_leases=(0.5, 2.0)),
    "crash_before_turn": FaultKind("process"),
    "crash_before_write": FaultKind("process"),
    "crash_in_write": FaultKind("process", 2.0, amount=(0, 1)),
    "crash_after_write": FaultKind("process"),
    "crash_between_sends": FaultKind("process", 1.5, amount=(1, 4)),
    "crash_before_answers": FaultKind("process"),
    "crash_in_start": FaultKind("process", amount=(1, 3)),
    "crash_in_snapshot": FaultKind("process", 3.0, amount=(0, 1)),
    # Disks. After a failed write a node must stop; a damaged store must not be used.
    "disk_full": FaultKind("disk"),
    "fsync_error": FaultKind("disk", amount=(0, 1)),
    "slow_disk": FaultKind("disk", amount=(20, 600)),
    "bit_rot": FaultKind("disk", 0.5, amount=(0, 4)),
    "snapshot_rot": FaultKind("disk"),
    # A store is lost, and made again under the same key; the others forget what they saw it sign, or not.
    "lost_store": FaultKind("loss", amount=(0, 1)),
    # Frames in a member's name that it never sent.
    "term_lifts": FaultKind("frame", 5.0, for_leases=(0.3, 3.0), nodes="two", amount=(1, 3)),
    # An engine that lies.
    "forget_vote": FaultKind("lie", 1.5),
    "vote_twice": FaultKind("lie", 1.5, for_leases=(1.5, 4.0)),
    "ack_blindly": FaultKind("lie", 2.0),
    "self_styled_leader": FaultKind("lie", 1.5),
    "replace_entry": FaultKind("lie"),
    "lose_journal": FaultKind("lie"),
    "lose_suffix": FaultKind("lie", amount=(1, 5)),
    "alter_journal": FaultKind("lie"),
    "apply_twice": FaultKind("lie"),
    "skip_entry": FaultKind("lie"),
    # Changes of the electorate, and faults in the middle of one.
    "observe": FaultKind("member", 1.5, nodes="none"),
    "join": FaultKind("member", 2.5, nodes="none"),
    "promote": FaultKind("member", 1.5, nodes="none"),
    "leave": FaultKind("member", 1.5, nodes="none"),
    "leader_leaves": FaultKind("member", nodes="none"),
    "rotate": FaultKind("member", 1.5, nodes="none"),
    "leader_rotates": FaultKind("member", 0.7, nodes="none"),
    "replace": FaultKind("member", 2.0, nodes="none"),
    "change_without": FaultKind("member", 1.5, nodes="none"),
    "evict": FaultKind("member", nodes="none"),
    "grow": FaultKind("member", 1.2, nodes="none"),
    "shrink": FaultKind("member", 0.4, nodes="none"),
    "two_changes": FaultKind("member", nodes="none"),
    "crash_around_change": FaultKind("member", 2.0, for_leases=(0.1, 2.0), nodes="some"),
    "cut_around_change": FaultKind("member", 1.5, for_leases=(0.3, 3.0), nodes="some"),
    "leader_dies_changing": FaultKind("member", for_leases=(0.1, 2.0), nodes="none"),
    # Commands: at a node that is cut off, and more than any cluster can bring through at once.
    "cut_off_submit": FaultKind("command", 2.0, for_leases=(3.0, 5.0)),
    "flood": FaultKind("command", for_leases=(0.5, 1.0), nodes="some", amount=(20, 120)),
    # An adversary in the place of Raft.
    "reign": FaultKind("script", 3.0, nodes="some"),
    "split": FaultKind("script", 4.0, nodes="some"),
    "usurp": FaultKind("script", 3.0, nodes="some"),
    "amnesia": FaultKind("script", 2.0, for_leases=(0.5, 1.5), nodes="two"),
    "late_lease": FaultKind("script", 3.0, for_leases=(1.6, 2.4), nodes="two"),
    "slow_holder": FaultKind("script", 2.0, for_leases=(1.3, 1.6), nodes="two"),
    "careless_leader": FaultKind("script", 1.5, for_leases=(0.3, 0.9), nodes="two"),
    "fork": FaultKind("script", 0.3),
}

PROFILES: dict[str, Profile] = {
    "calm": Profile({}, (1,)),
    "faults": Profile({"network": 1.0, "clock": 1.0, "wall": 1.0, "process": 0.6, "frame": 1.0}, (0.7, 2, 5)),
    "storage": Profile({"disk": 3.0, "process": 1.0, "network": 0.2}, (0.7, 2, 4)),
    "loss": Profile({"loss": 9.0, "network": 1.0, "process": 0.4}, (0.4, 0.7, 2)),
    "drift": Profile({"network": 1.0, "clock": 0.6, "wall": 0.6, "process": 0.3}, (0.7, 2)),
    "clocks": Profile({"wall": 3.0, "clock": 0.5, "network": 0.1, "process": 0.2}, (1, 2, 5)),
    "misbehaviour": Profile({"lie": 2.0, "network": 0.5, "process": 0.3}, (0.7, 2)),
    "membership": Profile(
        {"member": 2.5, "network": 0.7, "clock": 0.4, "wall": 0.3, "process": 0.5, "frame": 0.5}, (0.4, 0.8, 2)
    ),
    "commands": Profile({"command": 3.0, "network": 0.5, "process": 0.3}, (1, 2)),
    "adversary": Profile({"script": 4.0, "network": 0.2, "clock": 0.3, "process": 0.3}, (0.2, 0.4, 0.8, 1.5)),
}
