"""Entities in files: what `govraft entity list` writes can be put again, into the domain that it is of."""

import json

import pytest

from govraft.cli.entity_files import read_entities
from govraft.errors import InputError

LISTED = {"uid": 'T::"a"', "attrs": {"n": 1}, "parents": ['T::"b"']}


def test_a_listed_entity_goes_into_its_own_domain_only(tmp_path):
    file = tmp_path / "entities.json"
    file.write_text(json.dumps([LISTED | {"domain": "payments"}]))
    (entity,) = read_entities([file], "payments").entities
    assert (entity.uid, entity.attrs, entity.parents) == ('T::"a"', {"n": 1}, ('T::"b"',))
    with pytest.raises(InputError, match="entity 1: it is of the domain `payments`, not `root`: put each domain"):
        read_entities([file], "root")


@pytest.mark.parametrize("domain", [None, 7, ["root"]])
def test_a_domain_that_is_none_is_refused(tmp_path, domain):
    file = tmp_path / "entities.json"
    file.write_text(json.dumps([LISTED | {"domain": domain}]))
    with pytest.raises(InputError, match="domain"):
        read_entities([file], "root")
