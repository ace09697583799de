"""The numbers of the rules by which entries are applied.

What an entry does is a function of the state, the entry and one number. A number is closed once it has been released:
whatever would make the same bytes do something else opens the next one. So a lineage is replayed to the same roots for
ever, and all nodes change over at the same seq: the genesis names the first number (none: 1), and the command
`cluster.rules` raises it by one.

| number | what came with it                                                                                      |
|--------|--------------------------------------------------------------------------------------------------------|
| 1      | everything up to the first change below                                                                |
| 2      | quarantine, release, isolate, revoke and invalidate take a list of targets, and an envelope has up to  |
|        | 128 KiB; a permit that names no policy cannot be redeemed once anything is marked                      |
"""

from __future__ import annotations

__all__ = ["RULES_FIRST", "RULES_NEWEST", "RULES_WITH_LISTS", "explain_unknown_rules"]

RULES_FIRST = 1
RULES_WITH_LISTS = 2
RULES_NEWEST = 2
"""The newest number that this govraft can apply. `govraft init` writes it."""


def explain_unknown_rules(number: int) -> str:
    """Why a node or verifier stops at rules that it does not know, and what to do."""
    return (
        f"this state goes by rules {number}, this govraft knows rules {RULES_FIRST} to {RULES_NEWEST}; update govraft"
    )
