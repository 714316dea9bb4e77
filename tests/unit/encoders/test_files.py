from __future__ import annotations

import os
from pathlib import Path

import pytest

from encoders import EncoderLoadError
from encoders.files import new_folder, read_json, sha256_of_file, write_bytes, write_json
from encoders.weight_files import weights_hash


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with new_folder(target) as filling:
        (filling / "a").write_text("1")
        (filling / "a").chmod(0o600)
        assert not target.exists()
    assert names(tmp_path) == ["made"]
    assert (target / "a").stat().st_mode & 0o777 == 0o644
    with pytest.raises(FileNotFoundError), new_folder(target) as filling:
        write_bytes(filling / "nowhere" / "b", b"2")
    assert names(tmp_path) == ["made"]
    assert names(target) == ["a"]
    with new_folder(target) as filling:
        (filling / "b").write_text("2")
    assert names(target) == ["b"]


def test_whoever_comes_second_keeps_what_the_first_made(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with new_folder(target, keep=True) as slow:
        (slow / "slow").write_text("")
        with new_folder(target, keep=True) as fast:
            (fast / "fast").write_text("")
    assert names(target) == ["fast"]
    assert names(tmp_path) == ["made"]


def test_what_a_killed_process_left_is_cleared_after_a_day(tmp_path: Path) -> None:
    for name, age in ((".made.old", 2 * 24 * 3600), (".made.young", 60)):
        (tmp_path / name).mkdir()
        stamp = (tmp_path / name).stat().st_mtime - age
        os.utime(tmp_path / name, (stamp, stamp))
    with new_folder(tmp_path / "made"):
        pass
    assert names(tmp_path) == [".made.young", "made"]


def test_a_file_is_replaced_whole_and_leaves_no_other(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"one")
    write_bytes(tmp_path / "file", b"two")
    assert (tmp_path / "file").read_bytes() == b"two"
    assert names(tmp_path) == ["file"]
    write_json(tmp_path / "record", {"b": 1, "a": [2]})
    assert read_json(tmp_path / "record") == {"a": [2], "b": 1}


@pytest.mark.parametrize("content", [b"", b"[1]", b"{", b"\xff\xfe", b"3"])
def test_what_is_no_json_object_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_bytes(content)
    with pytest.raises(EncoderLoadError, match=r"record\.json"):
        read_json(tmp_path / "record.json")
    with pytest.raises(EncoderLoadError, match="cannot be read"):
        read_json(tmp_path / "absent.json")


def test_one_weight_file_is_hashed_as_it_is_and_several_by_name(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert weights_hash(tmp_path) == sha256_of_file(tmp_path / "model.safetensors")
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "model.safetensors").write_bytes(b"head")
    both = weights_hash(tmp_path)
    (tmp_path / "head").rename(tmp_path / "tail")
    assert len({both, weights_hash(tmp_path), sha256_of_file(tmp_path / "model.safetensors")}) == 3
