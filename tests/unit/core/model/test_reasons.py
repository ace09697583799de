"""What the reasons carry, and that everything else says the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from govraft.cli import exit_codes
from govraft.core.model.reasons import About, Reason

ROOT = Path(__file__).resolve().parents[4]


def test_a_reason_is_its_code() -> None:
    assert Reason("quarantined") is Reason.QUARANTINED
    assert Reason.QUARANTINED == "quarantined" == str(Reason.QUARANTINED) == f"{Reason.QUARANTINED}"
    assert msgspec.json.decode(b'"node_isolated"', type=Reason) is Reason.NODE_ISOLATED
    assert msgspec.json.encode(Reason.ISOLATED) == b'"isolated"'
    with pytest.raises(ValueError, match="unheard_of"):
        Reason("unheard_of")
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'"unheard_of"', type=Reason)


PUBLISHED = """
policy_divergence authorization_inconsistent runtime_state_fragmented governance_desynchronized attestation_disagreement
lineage_inconsistent unsigned_transition authority_conflict quorum_unverifiable partition_ambiguous lease_expired
leader_unconfirmed synchronizing clock_unsafe isolated node_unreachable node_starting internal_error quarantined revoked
invalidated attestation_missing attestation_expired grant_missing grant_expired boundary_exceeded policy_denied
policy_error request_invalid node_isolated
"""


def test_a_published_code_stays() -> None:
    assert set(PUBLISHED.split()) <= {reason.value for reason in Reason}


@pytest.mark.parametrize("reason", Reason)
def test_what_a_reason_carries_fits_together(reason: Reason) -> None:
    expected = {
        About.NODE: (None, False, 503, {exit_codes.DENIED, exit_codes.UNAVAILABLE}),
        About.REQUEST: (reason.step, False, 400, {exit_codes.MISUSED}),
        About.STATE: (reason.step, reason.of_node, 403, {exit_codes.DENIED}),
    }
    step, of_node, http_status, codes = expected[reason.about]
    assert (reason.step, reason.of_node, reason.http_status) == (step, of_node, http_status)
    assert reason.exit_code in codes
    assert reason.sentence
    # What can only pass with the next certificate is the node's; what no evaluation gives is not the state's alone.
    assert not reason.passing or reason.about is About.NODE
    assert reason.step is not None or reason.about is About.NODE or reason.of_node


def test_without_a_state_some_are_about_the_node() -> None:
    without = {reason for reason in Reason if reason.is_about_node(0)}
    with_one = {reason for reason in Reason if reason.is_about_node(7)}
    assert with_one == {reason for reason in Reason if reason.about is About.NODE}
    assert without - with_one == {
        Reason.ATTESTATION_DISAGREEMENT,
        Reason.AUTHORIZATION_INCONSISTENT,
        Reason.ISOLATED,
        Reason.REVOKED,
    }


def test_the_documents_say_the_same() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "write_reasons.py"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
