"""Protocol §9: what a verifier was given to trust, and keys that left the electorate."""

from __future__ import annotations

from mutant import Mutant

__all__ = ["TRUSTING_MUTANTS"]

_CORE = "govraft/core/evidence"
_STATE = f"{_CORE}/trust_state.py"
_TRUST = f"{_CORE}/trust.py"
_PERMIT = f"{_CORE}/permit_file.py"
_FILE = "govraft/cli/trust_file.py"
_UNIT = "tests/unit/core/evidence"
_STATE_TESTS = (f"{_UNIT}/test_trust.py",)
_FILE_TESTS = (f"{_UNIT}/test_trust_file.py",)
_ADVANCE_TESTS = (f"{_UNIT}/test_trust_advance.py",)
_PERMIT_TESTS = (f"{_UNIT}/test_permit_file.py",)
_COMMAND_TESTS = ("tests/unit/cli/test_trust_commands.py",)

TRUSTING_MUTANTS = (
    Mutant(
        "permit-of-keys-that-left",
        "keys that left the electorate permit nothing, once a trust state says so",
        _STATE,
        "        if shown.epoch < self.electorate.epoch:\n",
        "        if shown.epoch < 1:\n",
        _STATE_TESTS,
    ),
    Mutant(
        "permit-not-held-against-the-trust-state",
        "a permit is held against the trust state that was given",
        _PERMIT,
        "    if trust is not None:\n",
        "    if trust is not None and not statement:\n",
        _STATE_TESTS,
    ),
    Mutant(
        "past-of-keys-that-left-believed",
        "evidence of the past is tied to the trusted history, or not proven",
        _STATE,
        "        return shown.epoch >= self.electorate.epoch or self._is_own_checkpoint(shown)\n",
        "        return True\n",
        _STATE_TESTS,
    ),
    Mutant(
        "past-believed-without-being-asked-for",
        "what nothing ties to the trusted history is not proven",
        f"{_CORE}/evidence.py",
        "    if not use.is_past:\n",
        "    if use.trust is None:\n",
        _STATE_TESTS,
    ),
    Mutant(
        "another-electorate-is-no-conflict",
        "another electorate for a trusted epoch is a second history",
        _STATE,
        "            if electorate.epoch == epoch and _keys_of(electorate) != _keys_of(self.electorate):\n",
        "            if electorate.epoch == epoch and not electorate.voters:\n",
        _STATE_TESTS,
    ),
    Mutant(
        "another-epoch-is-no-conflict",
        "another epoch at the trusted seq is a second history",
        _STATE,
        "            if (electorate.epoch <= epoch and begin > self.seq) or"
        " (electorate.epoch > epoch and begin <= self.seq):\n",
        "            if begin < 1:\n",
        _STATE_TESTS,
    ),
    Mutant(
        "another-root-is-no-conflict",
        "another root at the trusted seq is a second history",
        _STATE,
        "        if roots - {self.root}:\n",
        "        if roots and not self.root:\n",
        _STATE_TESTS,
    ),
    Mutant(
        "later-seqs-of-keys-that-left-are-no-conflict",
        "who left before the trusted seq certifies nothing after it",
        _STATE,
        "        if shown.seq >= self.seq and shown.epoch < epoch and not self._is_own_checkpoint(shown):\n",
        "        if shown.seq < 0:\n",
        _STATE_TESTS,
    ),
    Mutant(
        "trust-state-of-another-cluster",
        "a trust state is of one cluster",
        _STATE,
        "        if file.cluster != genesis.cluster_id:\n",
        "        if not file.cluster:\n",
        _FILE_TESTS,
    ),
    Mutant(
        "trust-moved-without-a-link",
        "only what grew out of the trusted root moves a trust state without a question",
        _TRUST,
        "        if not is_linked:\n",
        "        if newer.seq < self.seq:\n",
        _ADVANCE_TESTS,
    ),
    Mutant(
        "trust-in-an-electorate-that-left",
        "an electorate that is shown to have left is not taken for the present one",
        _TRUST,
        "        if shown.history.newest.epoch != shown.epoch:\n",
        "        if shown.history.newest.epoch < shown.epoch:\n",
        _ADVANCE_TESTS,
    ),
    Mutant(
        "permit-is-something-to-trust",
        "a permit is what a thief would show",
        _TRUST,
        '    raise _no_trust(f"`{kind[:64]}`")\n',
        "    return prove_certificate(msgspec.json.decode(data)['certificate'].encode(), genesis, trust)[1]\n",
        _ADVANCE_TESTS,
    ),
    Mutant(
        "stale-certificate-permits",
        "a quorum certified a permit's state within a day of its issue",
        _PERMIT,
        "    if sum(abs(time - issued) <= PERMIT_CERTIFICATE_AGE_MS for time in times) < electorate.quorum_count:\n",
        "    if sum(abs(time - issued) <= PERMIT_CERTIFICATE_AGE_MS for time in times) < 1:\n",
        _PERMIT_TESTS,
    ),
    Mutant(
        "missing-trust-file-ignored",
        "a trust file that was named or is damaged is never silently the genesis alone",
        _FILE,
        "            if self.is_named or os.path.lexists(self.path):\n",
        "            if self.path is None:\n",
        _COMMAND_TESTS,
    ),
    Mutant(
        "fingerprint-not-compared",
        "the fingerprint that was given is that of what is trusted",
        "govraft/cli/trust.py",
        "    if fingerprint is not None and fingerprint != state.fingerprint:\n",
        "    if fingerprint is not None and not state.fingerprint:\n",
        _COMMAND_TESTS,
    ),
    Mutant(
        "silence-is-a-yes",
        "without an answer nothing is trusted",
        "govraft/cli/trust.py",
        "    if sys.stdin is None or not sys.stdin.isatty():\n",
        "    if sys.stdin is not None and not sys.stdin.isatty():\n        return\n    if sys.stdin is None:\n",
        _COMMAND_TESTS,
    ),
    Mutant(
        "trust-overwritten-unseen",
        "a trust state that nobody was asked about is not overwritten",
        _FILE,
        "                if (path.read_bytes() if path.exists() else None) != before:\n",
        "                if before is None and path.is_dir():\n",
        _COMMAND_TESTS,
    ),
)
