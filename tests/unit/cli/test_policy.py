from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from govraft.cli.policy_plan import EMPTY, Bundle, plan_versions
from govraft.cli.policy_texts import policy_id, policy_name, read_policies, split_policies
from govraft.core.machine.machine import Machine
from govraft.core.model.commands import PolicyPublish
from govraft.core.model.limits import ENVELOPE_BYTES, POLICIES, POLICY_BYTES
from govraft.core.policy.hazards import scan_policy
from govraft.errors import InputError, LimitExceededError
from govraft.testing.sample import SampleCluster

SCHEMA = "entity Agent; entity Tool; action use appliesTo { principal: Agent, resource: Tool };\n"
ONE = '@id("one")\npermit (principal, action, resource);'
TWO = '@id("two")\nforbid (principal == Agent::"x;//", action, resource);'


# Splitting.


def test_policies_are_split_at_their_own_semicolons_only() -> None:
    text = f'// about one; really\n{ONE} // behind\n\n// "unbalanced\n{TWO}\n// the end; nothing'
    parts = split_policies(text)
    assert len(parts) == 2
    assert parts[0] == f"// about one; really\n{ONE}"
    assert parts[1] == f'// behind\n\n// "unbalanced\n{TWO}'
    for part in parts:
        scan_policy(part)


def test_an_unfinished_policy_is_not_dropped() -> None:
    assert split_policies(f"{ONE}\npermit (principal") == [ONE, "permit (principal"]
    assert split_policies("// nothing\n") == []


def test_an_escaped_quote_does_not_end_a_string() -> None:
    text = 'permit (principal == Agent::"a\\";b", action, resource);'
    assert split_policies(text + text) == [text, text]


def test_what_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "a.cedar"
    large = "permit (principal, action, resource) when { " + "1 == 1 && " * 10**6 + "true };"
    file.write_text("\n" * 10**6 + ONE + large)
    with pytest.raises(InputError, match=f"a policy has 20000 bytes and more, over {POLICY_BYTES}: split it"):
        read_policies([file])
    one, begun = split_policies(file.read_text())
    assert one == ONE
    assert len(begun) < 2 * POLICY_BYTES + 20


def test_names() -> None:
    assert policy_name(ONE) == "one"
    assert policy_name("permit (principal, action, resource);") == ""
    assert policy_id(ONE) == hashlib.sha256(ONE.encode()).hexdigest()


# Planning.


def many(count: int, size: int = 300) -> dict[str, str]:
    texts = [f'permit (principal == Agent::"{number}{"x" * size}", action, resource);' for number in range(count)]
    return {policy_id(text): text for text in texts}


def publish(machine: Machine, sample: SampleCluster, base: Bundle, wanted: Bundle) -> Bundle:
    steps = plan_versions(base, wanted.schema, wanted.policies)
    known = dict(base.policies)
    for step in steps:
        command = PolicyPublish(
            **sample.header(),  # type: ignore[arg-type]
            version=step.version,
            expected=step.expected,
            schema=step.schema,
            policies=step.policies,
            removed=step.removed,
        )
        entry = sample.entry(command, "pat", "paula")
        assert len(entry) < ENVELOPE_BYTES
        assert machine.apply(entry).outcome.code == "applied"
        bundle = machine.policy_bundle(step.version)
        assert bundle is not None
        # Each version on the way is a part of the old bundle or of the new one.
        old, new = Bundle(0, "", base.schema, known), wanted
        assert any(
            bundle.schema == side.schema and bundle.policies.keys() <= side.policies.keys() for side in (old, new)
        )
        assert bundle.digest == step.digest
    last = machine.policy_bundle(base.version + len(steps)) if steps else None
    return base if last is None else Bundle(last.version, last.digest, last.schema, last.policies)


@pytest.mark.parametrize("seed", range(6))
def test_plans_lead_to_what_is_wanted_in_envelopes_that_fit(seed: int, sample: SampleCluster) -> None:
    rng = random.Random(seed)
    machine, current = Machine(sample.genesis), EMPTY
    pool = many(400)
    for round_number in range(4):
        wanted = dict(rng.sample(sorted(pool.items()), rng.randrange(400)))
        schema = SCHEMA + f"// {round_number % 2}\n" + "// x\n" * rng.choice([0, 5000])
        current = publish(machine, sample, current, Bundle(0, "", schema, wanted))
        assert (dict(current.policies), current.schema) == (wanted, schema)
        assert plan_versions(current, schema, wanted) == []


def test_large_policies_and_mass_removal_fit(sample: SampleCluster) -> None:
    machine = Machine(sample.genesis)
    current = publish(machine, sample, EMPTY, Bundle(0, "", SCHEMA, many(20, 9_000)))
    current = publish(machine, sample, current, Bundle(0, "", SCHEMA, many(1_500, 1)))
    current = publish(machine, sample, current, Bundle(0, "", SCHEMA + "// new\n", {}))
    assert current.policies == {}
    assert POLICIES > 1_500


def test_a_schema_that_fits_into_no_envelope_is_refused() -> None:
    with pytest.raises(LimitExceededError):
        plan_versions(EMPTY, SCHEMA + "// x\n" * 10_000, {})


# Reading.


def test_a_mounted_config_map_counts_each_file_once(tmp_path: Path, capsys) -> None:
    mount, real = tmp_path / "mount", tmp_path / "mount" / "..2026_12_01"
    real.mkdir(parents=True)
    (real / "one.cedar").write_text(ONE)
    (mount / "..data").symlink_to(real.name)
    (mount / "one.cedar").symlink_to("..data/one.cedar")
    assert list(read_policies([mount]).values()) == [ONE]
    assert capsys.readouterr().err == f"from `{mount}`: one.cedar\n"


def test_names_that_begin_with_a_dot_are_skipped(tmp_path: Path, capsys) -> None:
    for name in (".git/x/old.cedar", ".old.cedar", "sub/.hidden/old.cedar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("forbid (principal, action, resource);")
    with pytest.raises(InputError, match="names that begin with a dot are skipped"):
        read_policies([tmp_path])
    (tmp_path / "sub" / "two.cedar").write_text(TWO)
    assert list(read_policies([tmp_path]).values()) == [TWO]
    assert capsys.readouterr().err == f"from `{tmp_path}`: sub/two.cedar\n"
    # What is named is taken, whatever it is called.
    assert len(read_policies([tmp_path / ".git", tmp_path / "sub"])) == 2


def test_one_file_counts_once_through_links_and_a_circle_ends(tmp_path: Path, capsys) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "one.cedar").write_text(ONE)
    here = tmp_path / "here"
    here.mkdir()
    (here / "linked").symlink_to("../shared")
    (here / "again.cedar").symlink_to("../shared/one.cedar")
    (tmp_path / "shared" / "up").symlink_to("../here")
    assert list(read_policies([here, tmp_path / "shared" / "one.cedar"]).values()) == [ONE]
    assert capsys.readouterr().err == f"from `{here}`: again.cedar\n"


def test_a_link_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.cedar").symlink_to("nowhere")
    with pytest.raises(InputError, match="one.cedar` cannot be read"):
        read_policies([tmp_path])


def test_two_equal_texts_are_one_policy_with_a_note(tmp_path: Path, capsys) -> None:
    for name in ("a.cedar", "b.cedar"):
        (tmp_path / name).write_text(f"{ONE}\n{ONE}" if name == "a.cedar" else ONE)
    assert list(read_policies([tmp_path / "a.cedar", tmp_path / "b.cedar"]).values()) == [ONE]
    a, b = tmp_path / "a.cedar", tmp_path / "b.cedar"
    notes = [f"one policy is in `{a}` and in `{other}`: it counts once\n" for other in (a, b)]
    assert capsys.readouterr().err == "".join(notes)


def test_a_byte_order_mark_is_dropped(cluster, tmp_path: Path) -> None:
    for name, text in (("one.cedar", ONE), ("schema", SCHEMA)):
        (tmp_path / name).write_text("\ufeff" + text, encoding="utf-8")
    done = cluster("policy", "publish", tmp_path / "one.cedar", "--schema", tmp_path / "schema", "--activate")
    assert done.code == 0, done.err
    active = cluster.node.machine.active_policies
    assert (active.schema, list(active.policies.values())) == (SCHEMA, [ONE])


# The commands.


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    directory = tmp_path / "policies"
    (directory / "sub").mkdir(parents=True)
    (directory / "one.cedar").write_text(ONE)
    (directory / "sub" / "two.cedar").write_text(TWO)
    (directory / "notes.txt").write_text("not a policy")
    (tmp_path / "schema").write_text(SCHEMA)
    return directory


def test_publish_activate_rollback_list_show_diff(cluster, texts: Path, tmp_path: Path) -> None:
    machine = cluster.node.machine
    done = cluster("policy", "publish", texts, "--schema", tmp_path / "schema", "-o", "json")
    assert done.code == 0, done.err
    assert (done.data["version"], done.data["active"], done.data["policies"]) == (1, False, 2)
    assert machine.active_policies is None
    assert cluster("policy", "activate", 1).code == 0
    assert set(machine.active_policies.policies.values()) == {ONE, TWO}
    assert machine.policy_versions[0].authors == ("pat", "paula")

    (texts / "one.cedar").write_text(ONE.replace("permit", "forbid"))
    done = cluster("policy", "publish", texts, "--activate", "-o", "json")
    assert (done.code, done.data["active"]) == (0, True)
    assert machine.active_policies.version == 2
    diff = cluster("policy", "diff", 1, 2)
    assert "--- v1/one" in diff.out
    assert "-permit" in diff.out
    assert "+forbid" in diff.out
    assert "two" not in diff.out

    done = cluster("policy", "rollback", 1)
    assert done.code == 0
    assert machine.active_policies.version == 3
    assert machine.active_policies.digest == machine.policy_versions[0].digest
    assert cluster("policy", "diff", 1).out == ""
    assert cluster("policy", "show", "--policy", "two").out.splitlines()[1:] == TWO.splitlines()
    assert cluster("policy", "show", "--schema").out == SCHEMA
    listed = cluster("policy", "list", "-o", "yaml")
    assert "active:\n  version: 3" in listed.out


def test_publishing_the_same_again_changes_nothing(cluster, texts: Path, tmp_path: Path) -> None:
    cluster("policy", "publish", texts, "--schema", tmp_path / "schema", "--activate")
    before = cluster.node.machine.seq
    done = cluster("policy", "publish", texts, "--activate", "-o", "json")
    assert (done.code, done.data["version"], cluster.node.machine.seq) == (0, 1, before)


def test_only_the_last_command_waits_for_its_certificate(cluster, texts: Path, tmp_path: Path) -> None:
    cluster("policy", "publish", texts, "--schema", tmp_path / "schema", "--activate")
    assert cluster.node.waits == ["committed", "effective"]


def test_a_dry_run_prints_envelopes_and_submits_nothing(cluster, texts: Path, tmp_path: Path) -> None:
    done = cluster("policy", "publish", texts, "--schema", tmp_path / "schema", "--activate", "--dry-run")
    assert done.code == 0
    assert cluster.node.machine.seq == 1
    kinds = [json.loads(line)["payloadType"] for line in done.out.splitlines()]
    assert [kind.split(".")[-2].split("+")[0] for kind in kinds] == [
        "activate" if "activate" in k else "publish" for k in kinds
    ]
    assert len(kinds) == 2
    assert all(len(json.loads(line)["signatures"]) == 2 for line in done.out.splitlines())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("permit (principal, action, resource) when { principal.nosuch };", "policy_invalid"),
        ("permit (principal", "policy_malformed"),
        ("permit (principal == ?principal, action, resource);", "policy_template"),
        ("// nothing", "input_invalid"),
    ],
)
def test_bad_policies_are_refused_before_anything_is_signed(cluster, tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "bad.cedar").write_text(text)
    (tmp_path / "schema").write_text(SCHEMA)
    done = cluster("policy", "publish", tmp_path / "bad.cedar", "--schema", tmp_path / "schema", "-o", "json")
    assert (done.code, done.out) == (2, "")
    assert json.loads(done.err)["code"] == code
    assert cluster.node.machine.seq == 1


def test_a_malformed_policy_is_named_by_its_file(cluster, texts: Path, tmp_path: Path) -> None:
    (texts / "sub" / "bad.cedar").write_text("permit (principal, action, resource")
    done = cluster("policy", "publish", texts, "--schema", tmp_path / "schema")
    assert (done.code, str(texts / "sub" / "bad.cedar") in done.err, "[policy_malformed]" in done.err) == (
        2,
        True,
        True,
    )


def test_refusals_of_the_cluster_exit_1(cluster, texts: Path, tmp_path: Path) -> None:
    cluster("policy", "publish", texts, "--schema", tmp_path / "schema", "--activate")
    done = cluster("policy", "activate", 1)
    assert done.code == 1
    assert "[policy_version_conflict]" in done.err
    assert cluster("policy", "show", 9).code == 2
    assert cluster("policy", "show", "--policy", "nosuch").code == 2
