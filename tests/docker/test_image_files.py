"""Images in a file: written on one machine, loaded on another; what is no such file costs a sentence."""

from __future__ import annotations

import os
import subprocess
import tarfile
from contextlib import contextmanager

import pytest

from tests.daemon import find_program
from tests.docker.platform import ROUTED, SERVICE, platform_of
from tests.docker.registry import open_registry

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def registry():
    with open_registry() as one:
        yield one


@pytest.fixture(scope="module")
def saved(engine, images, registry):
    """A platform that is up, and the file of its images."""
    with platform_of(engine, images, "x") as one:
        one.image = registry.publish(engine, "x:1.0")
        one.add("x", SERVICE, ROUTED, image=one.image)
        one.up()
        one.file = one.folder / "images.tar"
        one.said = one.run("images", "save", str(one.file)).stdout
        yield one


def image_of_x(platform):
    return platform.lockfile["resources"]["image/x"]["attributes"]


def test_a_platform_comes_up_from_a_file_as_it_was(saved, engine, registry):
    assert saved.said.startswith("3 images, ")
    assert f" MB: {saved.file}\n" in saved.said
    held = image_of_x(saved)
    saved.run("down")
    engine.docker("rmi", "--force", held["id"])
    registry.stop()
    try:
        failed = saved.up(expect=2).stderr
        assert f"is not here (the lockfile holds {held['id'][:19]}) and cannot be pulled" in failed
        assert "its registry cannot be reached (connection refused)" in failed
        absent = saved.run("images", "save", "other.tar", expect=1).stderr
        assert f"the engine does not have {saved.image}" in absent
        assert not (saved.root / "other.tar").exists()

        assert f"loaded {saved.image}\n" in saved.run("images", "load", str(saved.file)).stdout
        saved.up()
        assert saved.container("x")["Image"] == held["id"]
        assert image_of_x(saved) == held, "the digest that a registry knows it by is not forgotten"
        assert "Nothing to do" in saved.up().stdout
    finally:
        registry.start()


def test_another_image_of_the_name_is_pointed_to_and_not_taken(saved, engine, registry, images):
    saved.run("down")
    engine.docker("rmi", "--force", image_of_x(saved)["id"])
    engine.docker("tag", images["loki"], saved.image)
    registry.stop()
    try:
        said = saved.up(expect=2).stderr
        assert "cannot be pulled: its registry cannot be reached (connection refused). Another image" in said
        assert "autogit upgrade takes it" in said
        assert not saved.ids()
    finally:
        registry.start()
        saved.run("images", "load", str(saved.file))
        saved.up()


def test_the_image_that_is_held_to_is_saved_whatever_its_tag_is_by_now(saved, engine, registry):
    held = image_of_x(saved)["id"]
    registry.publish(engine, "x:1.0", "2")
    engine.docker("pull", saved.image)
    try:
        said = saved.run("images", "save", "moved.tar").stdout
        assert f"{saved.image} is another image by now: x's is in the file by its id" in said
        assert "autogit.lock.json" in said
        with tarfile.open(saved.root / "moved.tar") as archive:
            assert any(held.removeprefix("sha256:") in name for name in archive.getnames())
    finally:
        engine.docker("tag", held, saved.image)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda data: b"hello\n" * 200, "is not a tar file"),
        (lambda data: data[: len(data) // 2], "is cut off"),
        (lambda data: b"", "holds no images"),
    ],
    ids=["text", "cut", "empty"],
)
def test_what_is_not_a_file_of_images_is_said(saved, tmp_path, made, why):
    file = tmp_path / "images.tar"
    file.write_bytes(made(saved.file.read_bytes()))
    failed = saved.run("images", "load", str(file), expect=1).stderr
    assert f"error[rejected]: {file} {why}\n" in failed
    assert "hint: autogit images save FILE" in failed


def test_a_tar_file_of_something_else_holds_no_images(saved, tmp_path):
    file = tmp_path / "other.tar"
    with tarfile.open(file, "w") as archive:
        archive.add(saved.root / ".env", "env")
    assert f"{file} holds no images\n" in saved.run("images", "load", str(file), expect=1).stderr


def test_there_is_a_file_to_load(saved):
    for name in ("none.tar", "overrides"):
        assert f"error[usage]: there is no file {name}" in saved.run("images", "load", name, expect=2).stderr


@contextmanager
def small_disk(folder):
    """A disk of one megabyte; skips where this machine may not mount."""
    command = [find_program("mount"), "-t", "tmpfs", "-o", "size=1m", "none", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("this machine mounts nothing")
    try:
        yield folder
    finally:
        subprocess.run([find_program("umount"), str(folder)], check=True)


def test_a_disk_that_is_full_leaves_no_part_of_a_file(saved, tmp_path):
    with small_disk(tmp_path) as disk:
        (disk / "images.tar").write_text("the former one")
        failed = saved.run("images", "save", str(disk / "images.tar"), expect=1).stderr
        assert f"error[storage]: {disk}/images.tar could not be written: No space left on device" in failed
        assert os.listdir(disk) == ["images.tar"]
        assert (disk / "images.tar").read_text() == "the former one"


def test_a_place_that_cannot_be_written_to_is_said(saved, tmp_path):
    missing = tmp_path / "nowhere" / "images.tar"
    failed = saved.run("images", "save", str(missing), expect=1).stderr
    assert f"error[storage]: {missing} could not be written: No such file or directory" in failed
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        assert " is not a file\n" in saved.run("images", "save", str(tmp_path / name), expect=2).stderr
    assert os.listdir(tmp_path) == ["pipe"]
