"""Measured scenarios on real nodes: `scripts/scenarios`.

::

    grow_shrink   3 nodes to 7 and back to 3 under checks and commands, judged by the checkers
    join          a long lineage: restarts with and without a snapshot, a node that joins, the proof from the genesis
    audit         many decisions: recorded, evaluated again, and three of them tampered with
    commands      many commands in a short time
    traffic       checks and commands that go on meanwhile, and their record
    windows       how long each node did not allow in each step
    programs      programs and what they cost
    figures       what was measured, for people and as JSON
"""
