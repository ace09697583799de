"""Protocol §3: the round, its certificates and leases."""

from __future__ import annotations

from late_stores import STORE_MUTANTS
from mutant import Mutant

__all__ = ["CONVERGENCE_MUTANTS"]

_CORE = "govraft/core/convergence"
_UNIT = "tests/unit/convergence"
_RULES = "tests/simulation/test_rules.py"
_NODE = "tests/unit/node/test_convergence.py"

_ADVERSARY = ("adversary", 0, 19)
"""Scripted Raft views over real nodes: two leaders at once, cut and late links, restarts."""

CONVERGENCE_MUTANTS = (
    Mutant(
        "lease-counted-from-receipt",
        "★ a lease is counted from its nonce's t0, never from receipt",
        f"{_CORE}/holder.py",
        "end = self._timing.lease_end(made.boottime)",
        "end = self._timing.lease_end(now)",
        (_RULES, f"{_UNIT}/test_holder.py"),
        _ADVERSARY,
    ),
    Mutant(
        "acks-below-the-highest",
        "★ a node never acks below the highest seq that it has acked",
        f"{_CORE}/cosigner.py",
        "            if checkpoint.seq < self.acked.seq:\n                return Refusal.REGRESSED\n",
        "",
        (_RULES, f"{_UNIT}/test_cosigner.py"),
        _ADVERSARY,
    ),
    Mutant(
        "acked-seq-not-made-durable",
        "★ the acked maximum is durable before the ack leaves",
        "govraft/node/convergence.py",
        "effects.batch.set_cosigner(CosignerRecord(answer.record.seq, answer.record.root))",
        "pass",
        (_RULES, _NODE),
        _ADVERSARY,
    ),
    Mutant(
        "acks-right-after-a-restart",
        "★ a restarted node waits for L(1+ρ)",
        f"{_CORE}/cosigner.py",
        "        if not self.is_ready(view.boottime):\n            return Refusal.RESTARTING\n",
        "",
        (_RULES, f"{_UNIT}/test_cosigner.py"),
        _ADVERSARY,
    ),
    Mutant(
        "every-start-is-the-first",
        "★ only a node that has never run before may ack at once",
        "govraft/adapters/sqlite_store.py",
        "has_run_before=not created)",
        "has_run_before=False)",
        ("tests/unit/adapters/test_sqlite_store.py",),
    ),
    Mutant(
        "outstanding-holders-not-listed",
        "★ acks list the holders that may still serve a lower seq",
        f"{_CORE}/cosigner.py",
        "return tuple(sorted(holder for holder, ends in self._grants.items() if min(ends) < seq))",
        "return ()",
        (_RULES, f"{_UNIT}/test_cosigner.py"),
        _ADVERSARY,
    ),
    Mutant(
        "a-newer-grant-hides-an-older-one",
        "★ a holder's live grant at a lower seq stays outstanding after it was granted one at a higher seq",
        f"{_CORE}/cosigner.py",
        "self._grants.setdefault(holder, {})[checkpoint.seq] = end",
        "self._grants[holder] = {checkpoint.seq: end}",
        (f"{_UNIT}/test_cosigner.py", _RULES),
        _ADVERSARY,
    ),
    Mutant(
        "outstanding-only-until-L",
        "★ a grant is outstanding for L(1+ρ) of the voter's clock",
        f"{_CORE}/timing.py",
        "-(-self.lease_ms * NS_PER_MS * (_PPM + self.drift_ppm) // _PPM)",
        "-(-self.lease_ms * NS_PER_MS * (_PPM - self.drift_ppm) // _PPM)",
        (_RULES, f"{_UNIT}/test_timing.py"),
        _ADVERSARY,
    ),
    Mutant(
        "lease-held-too-long",
        "★ a lease runs for L(1−ρ) of the holder's clock",
        f"{_CORE}/timing.py",
        "return self.lease_ms * NS_PER_MS * (_PPM - self.drift_ppm) // _PPM",
        "return self.lease_ms * NS_PER_MS * (_PPM + self.drift_ppm) // _PPM",
        (_RULES, f"{_UNIT}/test_timing.py"),
        _ADVERSARY,
    ),
    Mutant(
        "leader-does-not-wait",
        "★ the leader completes a round only when every outstanding holder has acked",
        f"{_CORE}/round.py",
        "            if node in voters and holders.keys() >= set(ack.outstanding)\n"
        "        }\n"
        "        if count_quorum(set(granting), opened.electorates) is not None:\n"
        "            return None\n"
        "        needed = set(granting).union("
        "holders[name] for ack in granting.values() for name in ack.outstanding)\n",
        "            if node in voters\n"
        "        }\n"
        "        if count_quorum(set(granting), opened.electorates) is not None:\n"
        "            return None\n"
        "        needed = set(granting)\n",
        (f"{_UNIT}/test_round.py", _RULES),
        _ADVERSARY,
    ),
    Mutant(
        "holder-believes-the-leader",
        "★ the holder itself verifies that outstanding holders have moved on",
        f"{_CORE}/certificate.py",
        "        if missing:\n            waiting |= missing\n            continue\n",
        "",
        (f"{_UNIT}/test_certificate.py", _RULES),
        _ADVERSARY,
    ),
    Mutant(
        "serves-on-after-its-ack",
        "before a node acks seq it has stopped serving every lower one",
        "govraft/node/convergence.py",
        "            self.holder.stop_below(answer.seq)\n",
        "",
        (_NODE, _RULES),
        _ADVERSARY,
    ),
    Mutant(
        "takes-a-lease-below-its-ack",
        "after acking j no lease below j counts",
        f"{_CORE}/holder.py",
        "if made is None or probe.checkpoint.seq < self._floor:",
        "if made is None:",
        (f"{_UNIT}/test_holder.py", _RULES),
        _ADVERSARY,
    ),
    Mutant(
        "acks-of-another-probe-count",
        "only acks of this very probe carry its grants",
        f"{_CORE}/certificate.py",
        "        if ack.probe != digest:\n            continue\n",
        "",
        (f"{_UNIT}/test_certificate.py",),
    ),
    Mutant(
        "acks-of-another-root-count",
        "a quorum acks one root, not several",
        f"{_CORE}/certificate.py",
        "        if (ack.round, ack.seq, ack.root) != (probe.round, checkpoint.seq, checkpoint.root):\n"
        "            continue\n",
        "",
        (f"{_UNIT}/test_certificate.py",),
    ),
    Mutant(
        "observers-make-a-quorum",
        "observers acknowledge and cosign, but do not count towards q",
        f"{_CORE}/certificate.py",
        "for voter in electorate.voters if (voter.id, voter.public_key) in voted}",
        "for voter in electorate.members if (voter.id, voter.public_key) in voted}",
        (f"{_UNIT}/test_certificate.py",),
    ),
    Mutant(
        "bad-cosignature-skipped",
        "a known key with a bad signature rejects the whole note",
        f"{_CORE}/certificate.py",
        'raise CertificateError(f"certificate has an invalid cosignature of `{signer.id}`")',
        "continue",
        (f"{_UNIT}/test_certificate.py", "tests/golden/test_c2sp.py"),
    ),
    Mutant(
        "unknown-keys-count",
        "unknown keys are ignored, they never make a quorum",
        f"{_CORE}/certificate.py",
        "        if signer is None:\n            continue\n",
        "        if signer is None:\n            keys.add(item.key_id)\n            continue\n",
        (f"{_UNIT}/test_certificate.py", "tests/golden/test_c2sp.py"),
    ),
    Mutant(
        "certificate-of-another-cluster",
        "a certificate proves nothing for another cluster",
        f"{_CORE}/certificate.py",
        "    if checkpoint.origin != origin:\n",
        '    if checkpoint.origin == "":\n',
        (f"{_UNIT}/test_certificate.py", "tests/unit/core/evidence"),
    ),
    Mutant(
        "certificate-of-another-checkpoint",
        "a lease's certificate is over the probe's own checkpoint",
        f"{_CORE}/certificate.py",
        "    if checkpoint != probe.checkpoint:\n",
        "    if checkpoint.seq != probe.checkpoint.seq:\n",
        (f"{_UNIT}/test_certificate.py", f"{_UNIT}/test_lease_binding.py"),
    ),
    Mutant(
        "lease-of-another-epoch",
        "a lease counts only under the electorate of its epoch",
        f"{_CORE}/certificate.py",
        "    if probe.epoch != epoch:\n",
        "    if probe.epoch > epoch:\n",
        (f"{_UNIT}/test_certificate.py", f"{_UNIT}/test_lease_binding.py"),
    ),
    Mutant(
        "probe-of-another-epoch",
        "a node acks only under the electorate that it holds",
        f"{_CORE}/cosigner.py",
        "if not electorates or probe.epoch != electorates[-1].epoch:",
        "if not electorates:",
        (f"{_UNIT}/test_cosigner.py",),
    ),
    Mutant(
        "ack-speaks-for-another",
        "an ack counts for its signer only",
        f"{_CORE}/certificate.py",
        "    if ack.node != member.id:\n",
        "    if not ack.node:\n",
        (f"{_UNIT}/test_certificate.py",),
    ),
    Mutant(
        "message-of-another-cluster",
        "probes, acks and leases are bound to their cluster",
        f"{_CORE}/messages.py",
        'b"govraft/%s/v1\\0" % kind.value.encode() + cluster + body',
        'b"govraft/%s/v1\\0" % kind.value.encode() + body',
        (f"{_UNIT}/test_messages.py", f"{_UNIT}/test_certificate.py"),
    ),
    Mutant(
        "message-of-another-kind",
        "a signed probe never passes for an ack",
        f"{_CORE}/messages.py",
        'b"govraft/%s/v1\\0" % kind.value.encode() + cluster + body',
        'b"govraft/v1\\0" + cluster + body',
        (f"{_UNIT}/test_messages.py", f"{_UNIT}/test_certificate.py"),
    ),
    Mutant(
        "cosigns-another-state",
        "a node cosigns only a root and sections that are its own",
        f"{_CORE}/cosigner.py",
        "held.root != checkpoint.root or dict(held.sections) != probe.sections",
        "dict(held.sections) != probe.sections",
        (f"{_UNIT}/test_cosigner.py",),
    ),
    Mutant(
        "cosigns-other-sections",
        "a probe's sections are those of the acking node",
        f"{_CORE}/cosigner.py",
        "held.root != checkpoint.root or dict(held.sections) != probe.sections",
        "held.root != checkpoint.root",
        (f"{_UNIT}/test_cosigner.py",),
    ),
    Mutant(
        "own-lineage-not-compared",
        "a node whose lineage lost the root that it signed isolates itself",
        f"{_CORE}/cosigner.py",
        "            if view.root(self.acked.seq) != self.acked.root:\n"
        "                return Refusal.LINEAGE_CHANGED\n",
        "",
        (f"{_UNIT}/test_cosigner.py",),
    ),
    Mutant(
        "cosigns-the-future",
        "no cosignature while the newest entry is dated far ahead of the own clock",
        f"{_CORE}/cosigner.py",
        "return Refusal.CLOCK_AHEAD if view.newest_time > view.wall + self._timing.skew_ms else None",
        "return None",
        (f"{_UNIT}/test_cosigner.py",),
    ),
    Mutant(
        "acks-another-term",
        "a node acks the leader of its own term only",
        f"{_CORE}/cosigner.py",
        "probe.leader != view.leader_hint or probe.term != view.term",
        "probe.leader != view.leader_hint",
        (f"{_UNIT}/test_cosigner.py",),
    ),
    Mutant(
        "isolated-node-cosigns",
        "an isolated node stops cosigning",
        f"{_CORE}/cosigner.py",
        "        if view.isolated:\n            return Refusal.ISOLATED\n",
        "",
        (f"{_UNIT}/test_cosigner.py",),
    ),
    Mutant(
        "signer-is-not-the-sender",
        "a message is believed only from the member that signed it",
        "govraft/node/convergence.py",
        "if signed.signer != peer:",
        "if not signed.signer:",
        (_NODE,),
    ),
    Mutant(
        "certified-fork-not-noticed",
        "a node that finds its lineage different from a certified one isolates itself",
        "govraft/node/convergence.py",
        "        if self._machine.lineage.root(seq) != probe.checkpoint.root:\n",
        "        if not probe.checkpoint.root:\n",
        (_NODE,),
    ),
    Mutant(
        "evidence-not-kept",
        "an isolated node stays so across restarts, its evidence on disk",
        "govraft/node/convergence.py",
        "            effects.batch.set_isolation(self.isolation.reason, message, self.isolation.evidence)\n",
        "",
        (_NODE,),
    ),
    Mutant(
        "two-roots-of-one-voter-count",
        "a voter proven to have signed two roots counts no more",
        "govraft/node/witness.py",
        "return member.public_key not in self._liars",
        "return True",
        (_NODE, "tests/unit/node/test_equivocation.py"),
    ),
    *STORE_MUTANTS,
)
