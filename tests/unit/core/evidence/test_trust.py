"""What a trust state makes of evidence: keys that left the electorate prove nothing new."""

from __future__ import annotations

import pytest

from govraft.core.evidence.permit_file import prove_permit
from govraft.testing.evidence_sample import EvidenceSample
from govraft.testing.sample import CREATED

NOW = CREATED + 101_000


@pytest.fixture(scope="module")
def thief() -> EvidenceSample:
    """Holds the keys of n1 and n2, and a copy of the lineage of epoch 1."""
    return EvidenceSample()


def test_two_keys_of_the_founders_permit_anything(thief) -> None:
    assert prove_permit(thief.permit(), thief.sample.genesis, at=NOW).voters == ("n1", "n2")
