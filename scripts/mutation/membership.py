"""Protocol §3, "Epochs": changes of the electorate, their certificates, and who may speak before and after them."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["MEMBERSHIP_MUTANTS"]

_CORE = "govraft/core/convergence"
_UNIT = "tests/unit/convergence"
_MEMBERS = "govraft/core/machine/members.py"
_MEMBER_TESTS = ("tests/unit/core/machine/test_members.py",)
_CERTIFICATE = f"{_CORE}/certificate.py"
_CERTIFICATE_TESTS = (f"{_UNIT}/test_joint_certificate.py",)
_COSIGNER_TESTS = (f"{_UNIT}/test_joint_cosigner.py",)
_ROUND_TESTS = (f"{_UNIT}/test_joint_round.py",)
_CHAIN = "govraft/core/evidence/epochs.py"
_CHAIN_TESTS = ("tests/unit/core/evidence/test_epochs.py",)
_CHANGES = ("tests/unit/node/test_electorate_changes.py",)
_PROPOSING = "govraft/node/member_changes.py"
_PROPOSING_TESTS = ("tests/unit/node/test_member_changes.py",)
_ENGINE = "govraft/adapters/engine"
_ENGINE_TESTS = ("tests/unit/engine/test_engine_epochs.py",)

_SEEDS = ("membership", 0, 19)
"""Nodes that join, leave, change keys and die in the middle of it, under the real engine."""

MEMBERSHIP_MUTANTS = (
    Mutant(
        "old-quorum-alone-certifies-a-change",
        "★ the certificate of a change needs a quorum of the new electorate too",
        _CERTIFICATE,
        "    for electorate in _several(electorates):\n        # SAFETY: each electorate counts",
        "    for electorate in _several(electorates)[:1]:\n        # SAFETY: each electorate counts",
        _CERTIFICATE_TESTS,
        _SEEDS,
    ),
    Mutant(
        "new-quorum-alone-certifies-a-change",
        "★ the certificate of a change needs a quorum of the old electorate too",
        _CERTIFICATE,
        "    for electorate in _several(electorates):\n        # SAFETY: each electorate counts",
        "    for electorate in _several(electorates)[-1:]:\n        # SAFETY: each electorate counts",
        _CERTIFICATE_TESTS,
        _SEEDS,
    ),
    Mutant(
        "a-voter-counts-under-its-other-key",
        "at a rotation each key counts only where it stands",
        _CERTIFICATE,
        "if (voter.id, voter.public_key) in voted}",
        "if voter.id in {name for name, _ in voted}}",
        _CERTIFICATE_TESTS,
    ),
    Mutant(
        "the-new-key-moves-the-old-holder-on",
        "who holds an old lease under one key has not moved on by another",
        _CERTIFICATE,
        "if ack.seq >= checkpoint.seq and _is_member(member, holders)}",
        "if ack.seq >= checkpoint.seq}",
        _CERTIFICATE_TESTS,
    ),
    Mutant(
        "acks-beyond-an-uncertified-change",
        "★ no node acks a seq beyond a change before it holds its certificate",
        f"{_CORE}/cosigner.py",
        "        if view.uncertified is not None and seq > view.uncertified:\n"
        "            return Refusal.EPOCH_UNCERTIFIED\n",
        "",
        (*_COSIGNER_TESTS, *_CHANGES),
    ),
    Mutant(
        "a-removed-node-acks-on",
        "who is no member cosigns nothing",
        f"{_CORE}/cosigner.py",
        "return None if any(member.public_key == self._public_key for member in own) else Refusal.NOT_MEMBER",
        "return None",
        _COSIGNER_TESTS,
    ),
    Mutant(
        "a-rotated-key-acks-on",
        "a key that was rotated away cosigns nothing",
        f"{_CORE}/cosigner.py",
        "return None if any(member.public_key == self._public_key for member in own) else Refusal.NOT_MEMBER",
        "return None if own else Refusal.NOT_MEMBER",
        _COSIGNER_TESTS,
    ),
    Mutant(
        "live-grants-forgotten-at-a-change",
        "★ only grants below a certified change are over with it",
        f"{_CORE}/cosigner.py",
        "if granted >= seq}",
        "if granted > seq}",
        _COSIGNER_TESTS,
    ),
    Mutant(
        "grants-for-members-that-left",
        "from a change on, grants are for the members after it",
        f"{_CORE}/cosigner.py",
        "view.electorates(checkpoint.seq)[-1].members",
        "view.electorates(checkpoint.seq)[0].members",
        _COSIGNER_TESTS,
    ),
    Mutant(
        "grants-for-non-members",
        "the leader grants to members of the new electorate only",
        f"{_CORE}/round.py",
        "if now - heard.at < self._recent_ns and _is_of(node, electorates[-1:])",
        "if now - heard.at < self._recent_ns",
        _ROUND_TESTS,
    ),
    Mutant(
        "waits-for-the-wrong-holders",
        "an outstanding holder has moved on under its key of before the change",
        f"{_CORE}/round.py",
        "holders = {node[0]: node for node in moved_on if _is_of(node, opened.electorates[:1])}",
        "holders = {node[0]: node for node in moved_on}",
        _ROUND_TESTS,
    ),
    Mutant(
        "one-electorate-at-a-change",
        "★ at a change this node asks for a quorum of both electorates",
        "govraft/node/epochs.py",
        "return (self.certified, self.waiting[0].electorate) if seq == first else ()",
        "return (self.waiting[0].electorate,) if seq == first else ()",
        _CHANGES,
        _SEEDS,
    ),
    Mutant(
        "a-removed-node-serves-on",
        "who is no member denies from the entry on that says so",
        "govraft/node/gate.py",
        "        if convergence.epochs.absence:\n",
        "        if not convergence:\n",
        _CHANGES,
    ),
    Mutant(
        "epoch-certificate-not-durable",
        "★ an epoch's certificate is durable before anything beyond it is acked",
        "govraft/node/convergence.py",
        "        effects.batch.add_epoch(row.epoch, row.seq, row.lease, row.records, row.leaf, row.proof)\n",
        "",
        _CHANGES,
        _SEEDS,
    ),
    Mutant(
        "stored-epochs-believed",
        "stored epochs are those of the stored lineage",
        "govraft/node/epochs.py",
        "(is_reached and stored.leaves[row.seq - 1].leaf != row.leaf)",
        "(is_reached and not row.leaf)",
        _CHANGES,
    ),
    Mutant(
        "another-electorate-goes-unnoticed",
        "who came to another electorate than was certified isolates itself",
        "govraft/node/epochs.py",
        "                self.contradicted = row\n",
        "                pass\n",
        _CHANGES,
    ),
    Mutant(
        "epoch-by-its-note-alone",
        "an epoch begins with the whole lease: nobody may still serve an older state",
        "govraft/node/lease_judge.py",
        "        self._verify(opened, judges)\n        if opened.probe.checkpoint.seq != seq:\n",
        "        if opened.probe.checkpoint.seq != seq:\n",
        _CHANGES,
    ),
    Mutant(
        "unsynced-observer-promoted",
        "an observer becomes a voter when it keeps up",
        "govraft/node/member_changes.py",
        "        if acked is None or acked < certified_seq - LAG_ENTRIES:\n",
        "        if acked == -1:\n",
        (*_CHANGES, "tests/unit/node/test_growing_cluster.py"),
    ),
    Mutant(
        "vote-for-an-earlier-epoch",
        "a member votes for no candidate of an earlier epoch than its own",
        f"{_ENGINE}/elections.py",
        "        if self._is_of_earlier_epoch(message):\n            return\n",
        "",
        _ENGINE_TESTS,
    ),
    Mutant(
        "last-voter-removed",
        "an electorate always has a voter",
        _MEMBERS,
        "    if member.voter and len(state.electorate.voters) == 1:\n",
        "    if member.voter and len(state.electorate.voters) == 0:\n",
        _MEMBER_TESTS,
    ),
    Mutant(
        "rotation-at-the-edge-of-the-quorum",
        "a voter is rotated only if the others are a quorum without it",
        _MEMBERS,
        "    if old.voter and len(electorate.voters) - 1 < electorate.quorum_count:\n",
        "    if old.voter and len(electorate.voters) < electorate.quorum_count:\n",
        _MEMBER_TESTS,
    ),
    Mutant(
        "new-member-without-possession",
        "a new member proves that it holds its key",
        _MEMBERS,
        "    refused = check_possession(context, key)\n",
        "    refused = None if key else check_possession(context, key)\n",
        _MEMBER_TESTS,
    ),
    Mutant(
        "removed-key-not-retired",
        "the key of a removed node never comes back",
        _MEMBERS,
        "    return _next_epoch(state, {identifier: None}, {key_id(member.public_key): context.seq})\n",
        "    return _next_epoch(state, {identifier: None}, {})\n",
        _MEMBER_TESTS,
    ),
    Mutant(
        "rotated-node-key-not-retired",
        "a replaced node key never comes back",
        _MEMBERS,
        "    return _next_epoch(state, {old.id: member}, {key_id(old.public_key): context.seq})\n",
        "    return _next_epoch(state, {old.id: member}, {})\n",
        _MEMBER_TESTS,
    ),
    Mutant(
        "two-members-with-one-certificate",
        "each member is one node to the network",
        _MEMBERS,
        "    if any(member.certificate == certificate for member in state.members.members.values()):\n",
        "    if any(member.certificate == b'' for member in state.members.members.values()):\n",
        _MEMBER_TESTS,
    ),
    Mutant(
        "evicted-for-one-root",
        "nobody is evicted for what an honest node signs",
        _MEMBERS,
        "first.seq != second.seq or first.root == second.root:",
        "first.seq != second.seq:",
        _MEMBER_TESTS,
    ),
    Mutant(
        "evicted-for-two-seqs",
        "two roots convict only if they are of one seq",
        _MEMBERS,
        "first.seq != second.seq or first.root == second.root:",
        "first.root == second.root:",
        _MEMBER_TESTS,
    ),
    Mutant(
        "evicted-by-a-forgery",
        "what convicts a node was signed by its key",
        _MEMBERS,
        "        if not context.is_valid(member.public_key, signed.signature, message):\n            return None\n",
        "        if not message:\n            return None\n",
        _MEMBER_TESTS,
    ),
    Mutant(
        "chain-without-the-new-quorum",
        "★ a link of the chain of epochs carries a quorum of the next electorate",
        _CHAIN,
        "        self._certified(link.note, (self.newest, electorate))\n",
        "",
        _CHAIN_TESTS,
    ),
    Mutant(
        "chain-records-not-compared",
        "the members after a change are those of the certified leaf",
        _CHAIN,
        '        if digest != leaf.sections.get("electorate"):\n',
        "        if not digest:\n",
        _CHAIN_TESTS,
    ),
    Mutant(
        "chain-leaf-not-included",
        "a link's leaf is under the root that was certified",
        _CHAIN,
        "        verify_inclusion(link.leaf, leaf.seq - 1, leaf.seq, link.proof, checkpoint.root)\n",
        "",
        _CHAIN_TESTS,
    ),
    Mutant(
        "former-electorate-certifies",
        "an electorate that is no more certifies nothing",
        "govraft/core/evidence/certificate.py",
        "    if epoch is not None and judges[-1].epoch != epoch:\n",
        "    if epoch is not None and judges[-1].epoch > epoch:\n",
        _CHAIN_TESTS,
    ),
    Mutant(
        "export-with-an-uncertified-change",
        "an export shows the certificate of each change of the electorate",
        "govraft/core/evidence/lineage_export.py",
        "if self._needs_certificates and self.machine.epoch != self.history.newest.epoch:",
        "if self._needs_certificates and self.machine.epoch < self.history.newest.epoch:",
        ("tests/unit/core/evidence/test_lineage_epochs.py",),
    ),
    Mutant(
        "export-epoch-of-another-state",
        "both electorates stand for exactly the exported lineage",
        "govraft/core/evidence/lineage_export.py",
        "(verified.probe.checkpoint.seq, verified.probe.checkpoint.root) != (self.taken, machine.root):",
        "verified.probe.checkpoint.seq != self.taken:",
        ("tests/unit/core/evidence/test_lineage_epochs.py",),
    ),
    Mutant(
        "a-change-that-the-living-cannot-certify",
        "no change is proposed that those who answer cannot certify",
        _PROPOSING,
        "        if heard < needed:\n",
        "        if heard < 0:\n",
        (*_PROPOSING_TESTS, "tests/simulation/test_change_without.py"),
    ),
    Mutant(
        "only-those-before-a-change-are-counted",
        "a quorum of the electorate after a change must answer before it is proposed",
        _PROPOSING,
        '("after", _voters_after(command, electorate))):',
        '("after", before)):',
        _PROPOSING_TESTS,
    ),
    Mutant(
        "a-key-counts-that-is-only-now-named",
        "a key that a change brings in does not count for its quorum",
        _PROPOSING,
        "return len(voters), [voter for name, voter in voters.items() if name != fields.id]\n",
        "return len(voters), list(voters.values())\n",
        _PROPOSING_TESTS,
    ),
    Mutant(
        "former-key-signs-beyond-the-change",
        "a former key signs the change that replaces it, and nothing else",
        "govraft/node/convergence.py",
        "if self._former is not None and self.epochs.is_former(self._former.public_key, answer.seq):",
        "if self._former is not None:",
        ("tests/unit/node/test_former_key.py",),
    ),
    Mutant(
        "export-of-what-is-applied-proves",
        "what is applied and not certified proves nothing",
        "govraft/core/evidence/lineage_export.py",
        "    if header.format != LINEAGE_FORMAT:\n",
        "    if not header.format:\n",
        ("tests/unit/core/evidence/test_lineage_applied.py",),
    ),
    Mutant(
        "a-told-node-makes-itself-a-store",
        "a lost store is not begun anew, whatever a node was told of",
        "govraft/startup.py",
        "        # (test_applied_epochs.py::test_a_lost_store_is_not_begun_anew).\n        return ()\n",
        "        # (test_applied_epochs.py::test_a_lost_store_is_not_begun_anew).\n        return None\n",
        ("tests/unit/cli_node/test_applied_epochs.py",),
    ),
)
