"""Which files below a directory are policies: each real file once, nothing hidden; and what was taken is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from govraft.cli.policy_texts import policy_id, read_policies, split_policies
from govraft.core.model.limits import POLICY_BYTES
from govraft.errors import InputError

ONE = "permit (principal, action, resource);"
TWO = "forbid (principal, action, resource);"


def test_a_mounted_config_map_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = tmp_path / "..2026_01_01"
    version.mkdir()
    for name, text in (("a.cedar", ONE), ("b.cedar", TWO)):
        (version / name).write_text(text)
        (tmp_path / name).symlink_to(Path("..data") / name)
    (tmp_path / "..data").symlink_to(version.name)
    assert read_policies([tmp_path]).keys() == {policy_id(ONE), policy_id(TWO)}
    assert f"read below `{tmp_path}`: a.cedar, b.cedar" in capsys.readouterr().err


def test_what_is_hidden_is_left_out(tmp_path: Path) -> None:
    for name in (".git/x/old.cedar", ".old.cedar", "sub/.hidden/x.cedar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(TWO)
    with pytest.raises(InputError, match=r"holds no `\.cedar` files"):
        read_policies([tmp_path])
    (tmp_path / "sub" / "a.cedar").write_text(ONE)
    assert read_policies([tmp_path]) == {policy_id(ONE): ONE}
    assert read_policies([tmp_path / ".old.cedar"]) == {policy_id(TWO): TWO}, "who names it means it"


def test_a_file_counts_once_and_so_does_a_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, copy = tmp_path / "a.cedar", tmp_path / "copy.cedar"
    file.write_text(ONE)
    assert read_policies([file, file, tmp_path]) == {policy_id(ONE): ONE}
    assert "counts once" not in capsys.readouterr().err
    copy.write_text(ONE)
    assert read_policies([tmp_path]) == {policy_id(ONE): ONE}
    assert f"one policy is in `{file}` and in `{copy}`: it counts once" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text(ONE)
    (tmp_path / "b.cedar").symlink_to("gone")
    with pytest.raises(InputError, match=r"b\.cedar` cannot be read"):
        read_policies([tmp_path])


def test_a_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "a.cedar"
    file.write_bytes(b"\xef\xbb\xbf" + ONE.encode())
    assert read_policies([file]) == {policy_id(ONE): ONE}


def test_what_is_too_large_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "a.cedar"
    large = "permit (principal, action, resource) when { " + "1 == 1 && " * 10**6 + "true };"
    file.write_text("\n" * 10**6 + ONE + large)
    with pytest.raises(InputError, match=f"a policy has 20000 bytes and more, over {POLICY_BYTES}: split it"):
        read_policies([file])
    one, begun = split_policies(file.read_text())
    assert one == ONE
    assert len(begun) < 2 * POLICY_BYTES + 20
