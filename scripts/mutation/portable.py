"""Permits, receipts, denials and evidence against nodes: what is believed away from the cluster."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["PORTABLE_MUTANTS"]

_CORE = "govraft/core/evidence"
_UNIT = "tests/unit/core/evidence"
_COSIGNING = "govraft/node/cosigning.py"
_COSIGNING_TESTS = ("tests/unit/node/test_cosigning.py",)
_END_TESTS = ("tests/unit/node/test_permit_ends.py",)
_COLLECTING = "govraft/node/permits.py"
_COLLECTING_TESTS = ("tests/unit/node/test_permits_collecting.py",)
_FILE = f"{_CORE}/permit_file.py"
_FILE_TESTS = (f"{_UNIT}/test_permit_file.py",)
_CHAIN_TESTS = (f"{_UNIT}/test_permit_chain.py",)
_REDEEM = "govraft/core/machine/permits.py"
_REDEEM_TESTS = ("tests/unit/core/machine/test_permits.py",)
_RECEIPT = f"{_CORE}/receipt.py"
_RECEIPT_TESTS = (f"{_UNIT}/test_receipt.py", f"{_UNIT}/test_receipt_times.py")
_DENIAL = f"{_CORE}/denial.py"
_DENIAL_TESTS = (f"{_UNIT}/test_denial.py",)
_EQUIVOCATION = f"{_CORE}/equivocation.py"
_EQUIVOCATION_TESTS = (f"{_UNIT}/test_equivocation_file.py",)

PORTABLE_MUTANTS = (
    Mutant(
        "cosigner-does-not-ask-its-own-gate",
        "a voter signs a permit only if its own gate allows the request",
        _COSIGNING,
        "        if isinstance(verdict, Deny):\n            self._answer(held, verdict, effects)\n",
        "        if isinstance(verdict, Deny):\n"
        "            answer = {'permit': asked.permit, 'signature': self._signer.sign_permit(asked)}\n"
        "            effects.sends.append(Send(held.peer, PERMIT_CHANNEL, pack(answer)))\n",
        _COSIGNING_TESTS,
    ),
    Mutant(
        "permit-of-another-seq-signed",
        "a quorum that signs has held leases on one state",
        _COSIGNING,
        "        if (asked.epoch, asked.seq) != (self._machine.epoch, allow.seq):\n",
        "        if asked.epoch != self._machine.epoch:\n",
        _COSIGNING_TESTS,
    ),
    Mutant(
        "permit-of-another-epoch-signed",
        "a permit is of the epoch in which it is signed",
        _COSIGNING,
        "        if (asked.epoch, asked.seq) != (self._machine.epoch, allow.seq):\n",
        "        if asked.seq != allow.seq:\n",
        _COSIGNING_TESTS,
    ),
    Mutant(
        "permit-on-another-state-signed",
        "a voter signs for its own state root only",
        _COSIGNING,
        "        elif asked.state_root != allow.state_root:\n",
        "        elif not asked.state_root:\n",
        _COSIGNING_TESTS,
    ),
    Mutant(
        "permit-by-other-policies-signed",
        "a voter signs for the policies that it found itself",
        _COSIGNING,
        "        elif list(asked.policies) != sorted(allow.policies):\n",
        "        elif not asked.policies:\n",
        _COSIGNING_TESTS,
    ),
    Mutant(
        "counted-permit-for-many-uses",
        "a rate counts each use: a permit under one is for a single use",
        _COSIGNING,
        "        elif self._gate.allow_is_counted and not asked.single_use:\n",
        "        elif not self._gate:\n",
        _END_TESTS,
    ),
    Mutant(
        "permit-outlives-its-grant",
        "a permit does not outlive what allows it",
        _COSIGNING,
        "        elif end is not None and asked.not_after > end:\n",
        "        elif end is not None and asked.not_after < 0:\n",
        _END_TESTS,
    ),
    Mutant(
        "another-request-evaluated-than-signed",
        "what a voter evaluates is what it signs",
        _COSIGNING,
        "(request_digest(request), context_digest(request.context)) != (asked.request_digest, asked.context_digest):",
        "request_digest(request) is None:",
        _COSIGNING_TESTS,
    ),
    Mutant(
        "back-dated-permit-signed",
        "nobody dates a permit with another node's signature",
        _COSIGNING,
        "        if abs(asked.issued - self._clock.wall()) > self._timing.skew_ms:\n",
        "        if asked.issued < 0:\n",
        _COSIGNING_TESTS,
    ),
    Mutant(
        "forged-share-counts",
        "a share of a permit is a voter's own signature of it",
        _COLLECTING,
        "not self._is_valid(voter.public_key, signature, attempt.message):",
        "not signature:",
        _COLLECTING_TESTS,
    ),
    Mutant(
        "share-of-an-observer-counts",
        "only voters sign permits",
        _COLLECTING,
        "if voter is None or not voter.voter or not self._is_valid(",
        "if voter is None or not self._is_valid(",
        _COLLECTING_TESTS,
    ),
    Mutant(
        "disagreement-permits",
        "nodes that agree on the state and not on the verdict permit nothing",
        _COLLECTING,
        "        return not any(finding.explains(denial.reason) for finding in findings)\n",
        "        return False\n",
        _COLLECTING_TESTS,
    ),
    Mutant(
        "permit-leaves-without-a-lease",
        "a permit leaves only while its state is served",
        _COLLECTING,
        "        if lease is None or leaf is None:\n",
        "        lease = lease or self._convergence.lease\n        if lease is None or leaf is None:\n",
        _COLLECTING_TESTS,
    ),
    Mutant(
        "permit-of-too-few",
        "a permit has the signatures of a quorum",
        f"{_CORE}/permit.py",
        "    if len(signers) < electorate.quorum_count:\n",
        "    if not signers:\n",
        (*_FILE_TESTS, *_REDEEM_TESTS),
    ),
    Mutant(
        "permit-of-a-former-epoch",
        "a permit is judged by the electorate of its own epoch",
        f"{_CORE}/permit.py",
        "    if statement.epoch != electorate.epoch:\n",
        "    if statement.epoch > electorate.epoch:\n",
        (*_REDEEM_TESTS, *_FILE_TESTS),
    ),
    Mutant(
        "permit-of-observers",
        "only signatures of voters are in a permit",
        f"{_CORE}/permit.py",
        "signing_members(opened, electorate.voters, is_valid)",
        "signing_members(opened, electorate.members, is_valid)",
        _FILE_TESTS,
    ),
    Mutant(
        "one-voter-signs-a-permit-twice",
        "each key signs a permit or denial once, in one order",
        f"{_CORE}/sealed.py",
        "    if names != sorted(set(names)):\n",
        "    if not names:\n",
        _FILE_TESTS,
    ),
    Mutant(
        "sealed-signature-not-verified",
        "no signature of a permit or denial goes unverified",
        f"{_CORE}/sealed.py",
        "        if not is_valid(member.public_key, part.signature, envelope.signed_bytes):\n",
        "        if not part.signature:\n",
        (*_FILE_TESTS, *_DENIAL_TESTS),
    ),
    Mutant(
        "expired-permit-holds",
        "a permit holds until `not_after`",
        _FILE,
        "    if at >= statement.not_after:\n",
        "    if at > statement.not_after + 10**9:\n",
        _FILE_TESTS,
    ),
    Mutant(
        "permit-of-the-future-holds",
        "a permit does not hold before it was issued",
        _FILE,
        "    if statement.issued > at + genesis.clock_skew_max_ms:\n",
        "    if statement.issued > at + 10**12:\n",
        _FILE_TESTS,
    ),
    Mutant(
        "permit-on-any-state",
        "a permit's state is the certified one",
        _FILE,
        "    if said != (checkpoint.seq, leaf.seq, leaf.epoch, leaf.state_root.hex()):\n",
        "    if said[0] != checkpoint.seq:\n",
        _FILE_TESTS,
    ),
    Mutant(
        "permit-leaf-not-included",
        "a permit's leaf is under the certified root",
        _FILE,
        '    verify_inclusion(leaf_bytes, leaf.seq - 1, checkpoint.seq, to_nodes(file.proof, what="proof"),'
        " checkpoint.root)\n",
        '    to_nodes(file.proof, what="proof")\n',
        _FILE_TESTS,
    ),
    Mutant(
        "permit-for-any-request",
        "a permit is for one request",
        _FILE,
        "    if request is not None and _digest(request) != statement.request_digest:\n",
        "    if request is not None and not _digest(request):\n",
        _FILE_TESTS,
    ),
    Mutant(
        "permit-for-any-audience",
        "a permit for an audience is void for others",
        _FILE,
        "    if statement.audience is not None and statement.audience != audience:\n",
        "    if audience is not None and statement.audience != audience:\n",
        _FILE_TESTS,
    ),
    Mutant(
        "permit-of-an-electorate-that-left",
        "who was a member once permits nothing later",
        f"{_CORE}/chain.py",
        "        if in_force != epoch:\n",
        "        if in_force < epoch:\n",
        _CHAIN_TESTS,
    ),
    Mutant(
        "strange-lines-in-certificates",
        "no byte of a permit file can be changed unnoticed",
        f"{_CORE}/chain.py",
        "    if note != exact_note(note, (electorate,), origin):\n        raise _inexact()\n    return checkpoint\n",
        "    return checkpoint\n",
        _FILE_TESTS,
    ),
    Mutant(
        "permit-redeemed-twice",
        "a single-use permit works once in the whole cluster",
        _REDEEM,
        "    if statement.permit in used:\n",
        "    if statement.permit in used and not statement.single_use:\n",
        _REDEEM_TESTS,
    ),
    Mutant(
        "permit-redeemed-after-its-end",
        "a used permit is forgotten only when it is void anyway",
        _REDEEM,
        "    if context.time >= statement.not_after:\n",
        "    if context.time > statement.not_after:\n",
        _REDEEM_TESTS,
    ),
    Mutant(
        "permit-of-the-revoked-redeemed",
        "a permit is void once what it names is stopped",
        _REDEEM,
        "        if stopped:\n",
        "        if stopped is None:\n",
        _REDEEM_TESTS,
    ),
    Mutant(
        "receipt-without-its-acks",
        "a receipt shows that those with an older lease have stopped",
        _RECEIPT,
        "    lease = verify_lease(signed, history.judges(seq), genesis.origin, cluster, LeaseTiming.of(genesis), "
        "is_valid=verify)\n",
        "    opened = open_lease(signed, history.judges(seq), cluster, is_valid=verify)\n"
        "    lease = VerifiedLease(opened.probe, frozenset(), opened.lease.note)\n",
        _RECEIPT_TESTS,
    ),
    Mutant(
        "receipt-counts-from-the-first-ack",
        "an older state was served until the latest ack",
        _RECEIPT,
        "    latest_s = max(ack.time_s for ack in acks)\n",
        "    latest_s = min(ack.time_s for ack in acks)\n",
        _RECEIPT_TESTS,
    ),
    Mutant(
        "receipt-forgets-the-skew",
        "times of a receipt count by any clock within the skew",
        _RECEIPT,
        "(latest_s + 1) * 1000 + genesis.clock_skew_max_ms",
        "(latest_s + 1) * 1000",
        _RECEIPT_TESTS,
    ),
    Mutant(
        "receipt-forgets-kept-answers",
        "kept answers run out one lease after their nodes stopped",
        _RECEIPT,
        "clients_until=until + genesis.lease_ms,",
        "clients_until=until,",
        _RECEIPT_TESTS,
    ),
    Mutant(
        "receipt-of-another-epoch",
        "a receipt's leaf is of the epoch in force at its seq",
        _RECEIPT,
        "    if leaf.epoch != history.in_force(leaf.seq).epoch:\n",
        "    if leaf.epoch > 10**6:\n",
        (*_RECEIPT_TESTS, *_CHAIN_TESTS),
    ),
    Mutant(
        "denial-of-another-node",
        "nobody speaks for another node",
        _DENIAL,
        "signing_members(opened, [member], is_valid)",
        "signing_members(opened, electorate.members, is_valid)",
        _DENIAL_TESTS,
    ),
    Mutant(
        "denial-for-any-request",
        "a denial is of one request",
        _DENIAL,
        "    if request is not None and _digest(request) != statement.request_digest:\n",
        "    if request is not None and not _digest(request):\n",
        _DENIAL_TESTS,
    ),
    Mutant(
        "denial-of-another-epoch",
        "a denial is judged by the electorate of its own epoch",
        _DENIAL,
        "    if statement.epoch != electorate.epoch:\n",
        "    if statement.epoch > electorate.epoch:\n",
        _DENIAL_TESTS,
    ),
    Mutant(
        "two-nodes-one-equivocation",
        "one node signed both roots",
        _EQUIVOCATION,
        "    if one.member != other.member:\n",
        "    if one.member is None:\n",
        _EQUIVOCATION_TESTS,
    ),
    Mutant(
        "honest-acks-convict",
        "nobody is convicted by what an honest node may sign",
        _EQUIVOCATION,
        "    if one.seq != other.seq or one.root == other.root:\n",
        "    if one.root == other.root:\n",
        _EQUIVOCATION_TESTS,
    ),
    Mutant(
        "unsigned-note-convicts",
        "a note accuses only with the node's own cosignature",
        _EQUIVOCATION,
        "            if is_valid(member.public_key, line.signature, message):\n",
        "            if message:\n",
        _EQUIVOCATION_TESTS,
    ),
    Mutant(
        "equivocation-forgotten-at-restart",
        "evidence against a node is kept",
        "govraft/node/witness.py",
        "                effects.batch.add_equivocation(evidence)\n",
        "",
        ("tests/unit/node/test_witness.py", "tests/unit/node/test_equivocation.py"),
    ),
)
