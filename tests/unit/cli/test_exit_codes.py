from __future__ import annotations

import pytest

from govraft import errors
from govraft.cli.exit_codes import exit_code_of_error, exit_code_of_verdict
from govraft.core.model.reasons import Reason
from govraft.core.model.verdict import Allow, Deny


def test_every_reason_has_its_exit_code() -> None:
    assert {reason.exit_code for reason in Reason} == {1, 2, 3}  # None of them is a success.


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (Reason.POLICY_DENIED, 1),
        (Reason.REVOKED, 1),
        (Reason.LEASE_EXPIRED, 1),
        (Reason.REQUEST_INVALID, 2),
        (Reason.NODE_UNREACHABLE, 3),
    ],
)
def test_denials(reason: Reason, code: int) -> None:
    assert exit_code_of_verdict(Deny(reason)) == code


def test_an_allow_is_zero() -> None:
    assert exit_code_of_verdict(Allow(1, "0" * 64, 1, [], "d", "n")) == 0


WANTED = {
    "ConfigError": 2,
    "InputError": 2,
    "DecodeError": 2,
    "LimitExceededError": 2,
    "VerificationError": 1,
    "SignatureError": 1,
    "ThresholdError": 1,
    "CertificateError": 1,
    "LineageError": 1,
    "ExpiredError": 1,
    "AvailabilityError": 3,
    "StorageError": 3,
    "CorruptionError": 3,
    "RejectedError": 1,
    "Denied": 1,
    "GovraftError": 3,
}


def test_the_table_names_every_error() -> None:
    named = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.GovraftError)
    }
    assert named == set(WANTED)


@pytest.mark.parametrize("name", WANTED)
def test_errors(name: str) -> None:
    kind = getattr(errors, name)
    error = (
        kind("x", file="f") if name == "ConfigError" else kind(Deny(Reason.REVOKED)) if name == "Denied" else kind("x")
    )
    assert exit_code_of_error(error) == WANTED[name]
