"""Atomic writes: whole or not at all, with the wished mode, and a full disk is a sentence."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

from autogit.errors import StorageFullError
from autogit.providers.host.atomic import write_atomic


def test_a_file_is_replaced_at_once_with_its_mode(tmp_path):
    path = tmp_path / "deep" / "er" / "file"
    write_atomic(path, b"one", 0o600)
    reader = path.open("rb")
    write_atomic(path, b"two", 0o644)
    with reader:
        assert reader.read() == b"one", "who had it open goes on reading the whole former file"
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["file"], "no temporary file is left"


def test_the_temporary_file_stays_out_of_a_watched_folder(tmp_path):
    write_atomic(tmp_path / "watched" / "file", b"x", 0o644, temporary_dir=tmp_path / "aside")
    assert os.listdir(tmp_path / "watched") == ["file"]
    assert os.listdir(tmp_path / "aside") == []


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFullError, match="cannot write .*file/below: Not a directory|File exists"):
        write_atomic(tmp_path / "file" / "below", b"x", 0o600)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageFullError, match="Is a directory"):
        write_atomic(tmp_path / "folder", b"x", 0o600)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"], "no temporary file is left"


@pytest.mark.integration
@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_leaves_the_former_file_whole(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(small)], check=False).returncode:
        pytest.skip("this machine does not let root mount")
    try:
        write_atomic(small / "file", b"good", 0o600)
        with pytest.raises(StorageFullError, match="No space left on device") as refused:
            write_atomic(small / "file", b"x" * 100_000, 0o600)
        assert "free space" in refused.value.hint
        assert (small / "file").read_bytes() == b"good"
        assert os.listdir(small) == ["file"]
    finally:
        subprocess.run(["umount", str(small)], check=True)
