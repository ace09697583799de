"""Output that takes no more is said to be that, and never hides what became of a command."""

import contextlib
import sys

import pytest


@pytest.fixture
def into_full(cluster, monkeypatch):
    """Runs a command whose standard output is a full disk."""

    def run(*words):
        with contextlib.suppress(OSError), open("/dev/full", "w") as stream, monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            outcome = cluster(*words)
        return outcome

    return run


@pytest.mark.parametrize("form", [(), ("-o", "json")])
@pytest.mark.parametrize("words", [("policy", "list"), ("status",), ("lineage", "list")])
def test_a_read_fails_for_its_output(into_full, words, form):
    code, _, error = into_full(*words, *form)
    assert code == 3
    assert "the output cannot be written: No space left on device" in error
    assert "defect" not in error and "unknown" not in error


@pytest.mark.parametrize("form", [(), ("-o", "json")])
def test_a_command_says_what_became_of_it(into_full, form):
    code, _, error = into_full("quarantine", "subject", 'T::"a"', "--reason", "r", *form)
    assert code == 3
    assert "the command was applied at seq 2 and is in force, but the output cannot be written" in error


def test_so_does_one_whose_receipt_is_lost(cluster):
    code, _, error = cluster("quarantine", "subject", 'T::"a"', "--reason", "r", "--receipt", "/dev/full")
    assert code == 3
    assert "applied at seq 2 and is in force, but its receipt cannot be kept in `/dev/full`: No space" in error
    assert "unknown" not in error
