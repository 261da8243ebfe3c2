"""Where scanned texts come from: encodings, odd files, archives made to hurt, and git repositories."""

import gzip
import io
import os
import random
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

from autogit.errors import UsageError
from autogit.model.text import one_line
from autogit.security.scanning import git
from autogit.security.scanning.archives import is_archive, read_archive
from autogit.security.scanning.decoding import decode
from autogit.security.scanning.diffs import read_diffs
from autogit.security.scanning.files import FileTarget, list_files
from autogit.security.scanning.reading import Reading, read_target
from autogit.security.scanning.texts import ScanText, Skipped, uri_of

MB = 1_000_000


class TestDecoding:
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be"])
    def test_a_text_is_the_same_in_every_encoding(self, encoding):
        text = "The pipeline of the main branch is green again, thanks to Zoë.\n"
        assert decode(text.encode(encoding)) == text

    def test_latin_1_is_what_is_no_utf_8_at_all(self):
        assert decode("Größe für alle".encode("latin-1")) == "Größe für alle"

    def test_one_bad_byte_does_not_hide_what_utf_8_says(self):
        assert decode("zero\u200bwidth ".encode() + b"\xff end") == "zero\u200bwidth \ufffd end"

    @pytest.mark.parametrize("data", [b"\x7fELF\x02\x01\x01" + bytes(100), bytes(range(256)) * 20])
    def test_what_is_no_text_is_told_apart(self, data):
        assert decode(data) is None

    def test_a_stray_nul_makes_no_binary(self):
        text = "a long line of a log that somebody's program wrote with a stray end\0 of string\n"
        assert decode(text.encode()) == text

    @pytest.mark.parametrize(
        "data", [b"", b"\xff\xfe", b"\xff\xfe\x00", b"\xef\xbb\xbf", b"\x00", b"\xff\xfe\x00\xd8x"]
    )
    def test_scraps_do_no_harm(self, data):
        assert decode(data) is None or isinstance(decode(data), str)


class TestPlaces:
    def test_line_and_column_count_from_one_in_code_points(self):
        text = ScanText("x", "file", "🙂 a\r\nb")
        assert [text.place(offset) for offset in (0, 2, 5, 6)] == [(1, 1), (1, 3), (2, 1), (2, 2)]

    def test_lines_of_a_diff_have_their_numbers(self):
        assert ScanText("x", "diff", "a\n\nb", lines=(3, 4, 9)).place(3) == (9, 1)

    def test_a_path_is_data(self):
        assert one_line("a\x1b[31m\n\u202eb") == "a\\027[31m\\010\\8238b"
        assert uri_of(os.fsdecode(b"b\xff c#%.md")) == "b%FF%20c%23%25.md"
        assert uri_of("/etc/issue") == "file:///etc/issue"
        assert uri_of("zip!/\ud800") == "zip%21/%3F"


def _paths(listing):
    return [target.path for target in listing.targets]


class TestFiles:
    def test_a_folder_is_walked_in_order_without_the_folders_of_tools(self, tmp_path):
        for name in (
            "b.txt",
            "a/z.md",
            ".git/config",
            "node_modules/x.js",
            "env/pyvenv.cfg",
            "env/lib.py",
            "venv/x.py",
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("text")
        listing = list_files(["."], tmp_path)
        assert _paths(listing) == ["a/z.md", "b.txt"]
        assert sorted(one.path for one in listing.skipped) == [".git", "env", "node_modules", "venv"]

    def test_a_file_that_is_named_twice_is_scanned_once(self, tmp_path):
        (tmp_path / "a").write_text("x")
        assert _paths(list_files(["a", "./a", ".", str(tmp_path / "a")], tmp_path)) == ["a"]

    def test_autogitignore_has_the_syntax_of_gitignore(self, tmp_path):
        for name in ("attacks/one.md", "attacks/keep.md", "a.log", "docs/a.log", "docs/b.md", "sub/attacks/x.md"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("text")
        (tmp_path / ".autogitignore").write_text("# examples\n/attacks/*\n!/attacks/keep.md\n*.log\n")
        listing = list_files(["."], tmp_path)
        assert _paths(listing) == [".autogitignore", "attacks/keep.md", "docs/b.md", "sub/attacks/x.md"]
        assert listing.ignored == 3
        assert "a.log" in _paths(list_files(["."], tmp_path, ignoring=False))
        assert _paths(list_files(["a.log"], tmp_path)) == ["a.log"], "what is named is meant"

    def test_a_pattern_that_cannot_be_is_told(self, tmp_path):
        (tmp_path / ".autogitignore").write_text("!\n")
        with pytest.raises(UsageError, match="has a pattern that cannot be"):
            list_files(["."], tmp_path)

    def test_all_paths_that_are_not_there_are_told_at_once(self, tmp_path):
        with pytest.raises(UsageError) as refused:
            list_files(["no", "nor\0this", "."], tmp_path)
        assert [fault.place for fault in refused.value.faults] == ["no", "nor\\000this"]

    def test_links_are_not_followed_and_nothing_is_waited_for(self, tmp_path):
        tree = tmp_path / "tree"
        tree.mkdir()
        (tmp_path / "outside.txt").write_text("secret")
        (tree / "link").symlink_to(tmp_path / "outside.txt")
        (tree / "folder").symlink_to(tmp_path)
        (tree / "loop").symlink_to("loop")
        os.mkfifo(tree / "pipe")
        read = [one for target in list_files(["."], tree).targets for one in read_target(target, Reading())]
        assert {one.path: one.reason for one in read} == {
            "folder": "symbolic link",
            "link": "symbolic link",
            "loop": "symbolic link",
            "pipe": "not a regular file",
        }

    def test_a_link_that_is_named_is_meant(self, tmp_path):
        (tmp_path / "real").write_text("text")
        (tmp_path / "link").symlink_to("real")
        (target,) = list_files(["link"], tmp_path).targets
        assert list(read_target(target, Reading())) == [ScanText("link", "file", "text")]

    def test_what_is_too_large_binary_or_gone_says_so(self, tmp_path):
        (tmp_path / "large").write_bytes(b"x" * (2 * MB + 1))
        (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
        reasons = [
            next(read_target(FileTarget(str(tmp_path / name), name), Reading(2 * MB))).reason
            for name in ("large", "picture", "gone", "picture/below")
        ]
        assert reasons == ["larger than 2 MB", "binary", "vanished while scanning", "vanished while scanning"]

    def test_a_log_is_a_source_of_its_own(self, tmp_path):
        (tmp_path / "build.log").write_text("x")
        (text,) = read_target(FileTarget(str(tmp_path / "build.log"), "build.log"), Reading())
        assert text.source == "log"

    def test_a_folder_too_deep_to_be_named_is_said(self, tmp_path):
        deepest = os.open(tmp_path, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=deepest)
            deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=deepest)
            os.close(deepest)
            deepest = deeper
        os.close(deepest)
        (tmp_path / "a.md").write_text("text")
        listing = list_files(["."], tmp_path)
        assert [target.path for target in listing.targets] == ["a.md"]
        assert [one.reason for one in listing.skipped] == ["not readable: File name too long"]

    @pytest.mark.parametrize("by_git", [False, True])
    def test_what_may_not_be_read_is_said_and_the_rest_is_scanned(self, by_git):
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder)
            (tree / "closed").mkdir()
            for name in ("closed/in.txt", "open.txt", "shut.txt"):
                (tree / name).write_text("text")
            if by_git:
                subprocess.run(["git", "init", "-q"], cwd=tree, check=True)
                subprocess.run(["git", "add", "-A"], cwd=tree, check=True)
                subprocess.run(["chown", "-R", "65534", tree], check=os.getuid() == 0)
            for path, mode in ((tree, 0o755), (tree / "shut.txt", 0), (tree / "closed", 0)):
                path.chmod(mode)
            done = subprocess.run(
                [sys.executable, "-c", UNPRIVILEGED, tree], capture_output=True, text=True, check=False
            )
        closed = "closed/in.txt" if by_git else "closed"
        assert [line for line in done.stdout.splitlines() if not line.startswith(".git ")] == [
            f"{closed} not readable: Permission denied",
            "open.txt read",
            "shut.txt not readable: Permission denied",
        ], done.stderr


UNPRIVILEGED = """
import os, sys
from pathlib import Path
from autogit.security.scanning.files import list_files
from autogit.security.scanning.reading import Reading, read_target
here = Path(sys.argv[1])
os.chdir(here)
os.getuid() or os.setuid(65534)  # root may read everything
listing = list_files(["."], here)
read = [one for target in listing.targets for one in read_target(target, Reading())]
for one in sorted([*read, *listing.skipped], key=lambda one: one.path):
    print(one.path, getattr(one, "reason", "read"))
"""


def _zip(**members):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return packed.getvalue()


def _tar(mode="w:gz", **members):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return packed.getvalue()


def _told(data, most=10 * MB):
    read = read_archive("a", data, most)
    return {one.path: one.text if isinstance(one, ScanText) else f"- {one.reason}" for one in read}


class TestArchives:
    @pytest.mark.parametrize(
        "data",
        [_zip(**{"in/x.md": b"text", "../up": b"more"})]
        + [_tar(mode, **{"in/x.md": b"text", "../up": b"more"}) for mode in ("w", "w:gz", "w:bz2", "w:xz")],
        ids=["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"],
    )
    def test_members_are_read_in_memory_and_their_names_are_data(self, data, tmp_path):
        assert is_archive(data)
        assert _told(data) == {"a!/in/x.md": "text", "a!/../up": "more"}
        assert list(tmp_path.iterdir()) == []

    def test_a_single_compressed_text_is_read_too(self):
        assert _told(gzip.compress(b"a line of a log\n")) == {"a!/content": "a line of a log\n"}

    @pytest.mark.parametrize("make", [_zip, _tar])
    def test_a_bomb_is_left_before_it_goes_off(self, make):
        bomb = make(small=b"text", zeros=bytes(60 * MB))
        assert len(bomb) < MB
        assert (
            _told(bomb, most=100 * MB)["a"]
            == "- archive that unpacks to more than 200 times its size: not read to its end"
        )

    def test_holes_of_sparse_files_count_too(self):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
            for number in range(40):
                hole = tarfile.TarInfo(f"hole{number}")
                hole.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(9 * MB)}
                archive.addfile(hole)
        assert "unpacks to more than" in _told(packed.getvalue())["a"]

    def test_many_members_end_it(self):
        names = [f"m{number}" for number in range(10_001)]
        assert "more than 10000 members" in _told(_tar("w", **dict.fromkeys(names, b"")))["a"]
        assert "more than 10000 members" in _told(_zip(**dict.fromkeys(names, b"")))["a"]

    def test_archives_within_are_not_opened_but_counted(self):
        assert _told(_zip(inner=_zip(x=b"y"), big=b"x" * 2000), most=1000) == {
            "a!/inner": "- archive within an archive",
            "a!/big": "- larger than 0.001 MB",
        }

    @pytest.mark.parametrize(
        "data",
        [_zip(x=b"text"), _tar(x=b"text"), _tar("w", x=b"text"), _tar("w:xz", x=b"text")],
        ids=["zip", "tar.gz", "tar", "tar.xz"],  # the times within differ from worker to worker
    )
    def test_damaged_archives_say_so_at_every_place(self, data):
        for at in range(0, len(data), 7):
            list(read_archive("a", data[:at], MB))
            list(read_archive("a", data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :], MB))
        if is_archive(data[:20]):
            assert "cannot be read" in _told(data[:20])["a"]

    def test_an_encrypted_member_says_so(self):
        data = bytearray(_zip(x=b"text"))
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
        assert _told(bytes(data)) == {"a!/x": "- encrypted"}

    def test_they_are_opened_only_where_asked(self, tmp_path):
        (tmp_path / "a.zip").write_bytes(_zip(x=b"text"))
        target = FileTarget(str(tmp_path / "a.zip"), "a.zip")
        assert [one.path for one in read_target(target, Reading(archives=True))] == ["a.zip!/x"]
        assert isinstance(next(read_target(target, Reading())), Skipped)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A git repository and a function that runs git in it."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-config"))
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Ada")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "ada@example.org")

    class Repository:
        root = tmp_path / "repository"

        def __call__(self, *words):
            return subprocess.run(["git", *words], cwd=self.root, check=True, capture_output=True).stdout.decode()

        def write(self, name, text):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
            self("add", "-A")

        def commit(self, message, *words):
            self("commit", "-q", "--allow-empty", "--no-verify", "--cleanup=verbatim", "-m", message, *words)

    repo = Repository()
    repo.root.mkdir()
    repo("init", "-q", "-b", "main")
    return repo


def _staged(repo, most=MB):
    return list(git.staged_diffs(repo.root, most))


class TestGit:
    def test_staged_lines_have_the_numbers_of_the_new_file(self, repository):
        repository.write("a.md", "one\ntwo\nthree\nfour\nfive\n")
        repository.commit("first")
        repository.write("a.md", "zero\none\nTWO\nthree\nfour\nfive\nsix")
        (text,) = _staged(repository)
        assert (text.path, text.source) == ("a.md", "diff")
        assert text.text.split("\n") == ["zero", "", "TWO", "", "six"]
        assert text.lines == (1, 2, 3, 4, 7)
        assert text.place(text.text.index("six")) == (7, 1)

    @pytest.mark.parametrize("name", ["log.showRoot=false", "diff.suppressBlankEmpty=true"])
    def test_no_setting_of_a_repository_leaves_lines_out(self, repository, name):
        repository("config", "diff.interHunkContext", "9")
        repository("config", *name.split("="))
        repository.write("a.md", "one\n\nthree\nfour\n")
        repository.commit("first")
        repository.write("a.md", "ONE\n\nthree\nFOUR\n")
        assert _staged(repository)[0].lines == (1, 2, 4)
        repository.commit("second")
        added = [text.text.split("\n") for text in git.range_diffs(repository.root, "main", MB)]
        assert added == [["ONE", "", "FOUR"], ["one", "", "three", "four"]]

    def test_a_replaced_commit_is_read_as_others_get_it(self, repository):
        repository.commit("hidden")
        repository("replace", "HEAD", repository("commit-tree", "-m", "shown", "HEAD^{tree}").strip())
        assert next(text.text for text in git.commit_texts(repository.root, "main")) == "hidden\n"

    def test_what_a_partial_clone_lacks_is_not_fetched_by_its_own_program(self, repository, tmp_path):
        repository.write("a.md", "one\n")
        repository.commit("first")
        blob = repository("rev-parse", "HEAD:a.md").strip()
        (repository.root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
        for name, value in (
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.promisor", "true"),
            ("protocol.ext.allow", "always"),
            ("remote.origin.url", f"ext::touch {tmp_path}/started"),
        ):
            repository("config", name, value)
        with pytest.raises(UsageError, match="git failed: (?!warning)"):
            list(git.range_diffs(repository.root, "main", MB))
        assert not (tmp_path / "started").exists()

    def test_of_a_line_that_is_too_long_little_is_read(self, repository):
        repository.write("a.md", "a" * 3 * MB)
        repository.write("b.md", "b\n")

        class Watched(io.BytesIO):
            longest = 0

            def readline(self, size=-1):
                line = super().readline(size)
                self.longest = max(self.longest, len(line))
                return line

        stream = Watched(repository("diff", "--cached", "--unified=0").encode())
        first, second = read_diffs(stream, MB // 2)
        assert (first.path, first.skipped, second.added) == ("a.md", "larger than 0.5 MB", b"b")
        assert 0 < stream.longest < 2 * MB

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
    def test_lines_of_wide_characters_stay_apart_and_legible(self, repository, encoding):
        repository.write("a.md", "one\ntwo\nthree\nfour\nfive\n".encode(encoding))
        repository.commit("first")
        repository.write("a.md", "zero\ntwo\nTHREE\nfour\nFIVE\n".encode(encoding))
        (text,) = _staged(repository)
        assert text.text.rstrip("\n\ufffd").split("\n") == ["zero", "", "THREE", "", "FIVE"]
        assert text.place(text.text.index("FIVE")) == (5, 1)

    def test_before_the_first_commit_all_that_is_staged_is_new(self, repository):
        repository.write("a.md", "one\n")
        assert [text.text for text in _staged(repository)] == ["one"]

    def test_what_is_not_staged_is_not_looked_at(self, repository):
        repository.write("a.md", "one\n")
        (repository.root / "a.md").write_text("other\n")
        assert [text.text for text in _staged(repository)] == ["one"]

    def test_names_of_files_come_through_whatever_they_hold(self, repository):
        names = [
            "with blank.md",
            'tab\tand "quotes".md',
            "ümlaut.md",
            "b/b.md",
            "line\nend.md",
            os.fsdecode(b"\xff.md"),
        ]
        for name in names:
            repository.write(name, "text\n")
        repository.write("binary blank.bin", b"\0\1\2" * 50)
        found = _staged(repository)
        assert sorted(one.path for one in found if isinstance(one, ScanText)) == sorted(names)
        assert [one for one in found if isinstance(one, Skipped)] == [Skipped("binary blank.bin", "binary")]

    def test_lines_that_look_like_a_diff_are_text(self, repository):
        lines = ["+++ b/other.md", "--- a/other.md", "@@ -1 +1 @@", "diff --git a/x b/x", "\0" + "0" * 40, "-- new"]
        repository.write("a.md", "\n".join(["-- gone", "++ kept", *["x" * 40] * 50]) + "\n")
        repository.commit("first")
        repository.write("a.md", "\n".join([*lines, *["x" * 40] * 50]) + "\n")
        (text,) = _staged(repository)
        assert text.path == "a.md"
        assert text.text.split("\n") == lines

    def test_every_added_line_stands_where_it_is_said_to(self, repository):
        dice = random.Random(7)
        words = [
            "",
            "+",
            "-",
            "++ b/x",
            "--- a/x",
            "@@ -1 +1,9 @@",
            "\r",
            "diff --git a/x b/x",
            "\\ No newline",
            "ü",
            "x" * 90,
        ]
        versions = [[[dice.choice(words) for _ in range(dice.randrange(12))] for _ in range(80)] for _ in range(3)]
        for number, contents in enumerate(versions):
            for name, lines in enumerate(contents):
                (repository.root / f"{name}.md").write_bytes("\n".join(lines).encode())
            repository("add", "-A")
            if number < 2:
                repository.commit(str(number))
        texts = [(text, versions[2]) for text in _staged(repository)]
        commits = repository("log", "--format=%h", "--abbrev=12").split()
        of_commit = dict(zip(commits, reversed(versions[:2]), strict=True))
        texts += [(text, of_commit[text.commit]) for text in git.range_diffs(repository.root, "main", MB)]
        assert len(texts) > 200
        for text, contents in texts:
            new = contents[int(text.path.removesuffix(".md"))]
            lines = text.text.split("\n")
            assert len(lines) == len(text.lines)
            for line, number in zip(lines, text.lines, strict=True):
                assert line in {new[number - 1], ""}, text

    def test_neither_a_nul_nor_an_attribute_nor_utf_16_hides_a_page(self, repository):
        page = "a page of text that goes on and on, for a while at least\n"
        repository.write(".gitattributes", "*.txt -diff\n")
        repository.write("nul.md", "\0" + page)
        repository.write("attribute.txt", page)
        repository.write("wide.md", (page * 2).encode("utf-16"))
        found = {one.path: one.text for one in _staged(repository) if isinstance(one, ScanText)}
        assert found["nul.md"] == "\0" + page.strip()
        assert found["attribute.txt"] == page.strip()
        assert found["wide.md"].startswith(page * 2)

    def test_settings_of_a_repository_start_no_program_and_change_no_output(self, repository, tmp_path):
        repository.write(".gitattributes", "*.md diff=own\n")
        repository.write("a.md", "text\n")
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        program.chmod(0o755)
        for key in ("diff.external", "diff.own.textconv", "diff.own.command", "core.fsmonitor", "core.pager"):
            repository("config", key, str(program))
        for key, value in (("diff.noprefix", "true"), ("color.ui", "always"), ("diff.mnemonicPrefix", "true")):
            repository("config", key, value)
        assert {text.path for text in _staged(repository)} == {"a.md", ".gitattributes"}
        list_files(["."], repository.root)
        assert not (tmp_path / "ran").exists()

    def test_a_range_gives_messages_names_and_what_each_commit_added(self, repository):
        repository.write("a.md", "one\n")
        repository.commit("first")
        repository.write("a.md", "one\ntwo\n")
        repository.commit("second: a subject\n\nand a body", "--author=Eve\u200b <eve@example.org>")
        repository.write("a.md", "one\n")
        repository.commit("third takes it back")
        texts = list(git.commit_texts(repository.root, "main~2..main"))
        assert [one.text.rstrip() for one in texts if one.path.endswith("/message")] == [
            "third takes it back",
            "second: a subject\n\nand a body",
        ]
        names = [one.text for one in texts if not one.path.endswith("/message")]
        assert names == ["Ada <ada@example.org>", "Eve\u200b <eve@example.org>"]
        (diff,) = git.range_diffs(repository.root, "main~2..main", MB)
        sha = repository("rev-parse", "main~1")
        assert (diff.text, diff.lines, diff.commit) == ("two", (2,), sha[:12])
        assert len(list(git.range_diffs(repository.root, "main", MB))) == 2

    def test_a_merge_gives_only_what_none_of_its_parents_has(self, repository):
        repository.write("a.md", "base\n")
        repository.commit("base")
        repository("checkout", "-q", "-b", "side")
        repository.write("a.md", "side\n")
        repository.commit("side")
        repository("checkout", "-q", "main")
        repository.write("a.md", "main\n")
        repository.commit("main")
        subprocess.run(["git", "merge", "-q", "side"], cwd=repository.root, check=False, capture_output=True)
        repository.write("a.md", "main\nslipped in by the merge\nside\n")
        repository.commit("merge")
        (diff,) = git.range_diffs(repository.root, "main^!", MB)
        assert (diff.text, diff.lines) == ("slipped in by the merge", (2,))

    def test_a_diff_that_is_too_large_says_so(self, repository):
        repository.write("large.md", "x" * 3000)
        repository.write("small.md", "text")
        assert _staged(repository, 2000)[0] == Skipped("large.md", "larger than 0.002 MB")
        assert _staged(repository, 2000)[1].text == "text"

    @pytest.mark.parametrize("words", ["no-such-branch", "--all", "--output=x", "main..nope", "-p", "", "main --"])
    def test_a_range_is_never_taken_for_an_option(self, repository, words):
        repository.write("a.md", "one\n")
        repository.commit("first")
        with pytest.raises(UsageError, match="git does not know the revisions"):
            git.check_range(repository.root, words)
        assert not (repository.root / "x").exists()

    def test_a_folder_without_git_is_told(self, tmp_path):
        with pytest.raises(UsageError, match="not a git repository"):
            git.require_top(tmp_path)

    def test_without_git_a_sentence_says_so(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        (tmp_path / "a.md").write_text("x")
        with pytest.raises(UsageError, match="git is not installed"):
            git.require_top(tmp_path)
        assert _paths(list_files(["."], tmp_path)) == ["a.md"]

    def test_in_a_work_tree_git_says_what_is_there(self, repository):
        for name in ("tracked.md", "vendor/node_modules/own.js", "gone.md"):
            repository.write(name, "text")
        repository.commit("first")
        (repository.root / "gone.md").unlink()
        (repository.root / ".gitignore").write_text("build/\n.venv/\n")
        for name in ("build/out.md", ".venv/lib/x.py", "new.md", "node_modules/theirs.js"):
            (repository.root / name).parent.mkdir(parents=True, exist_ok=True)
            (repository.root / name).write_text("text")
        (repository.root / ".autogitignore").write_text("new.md\n")
        listing = list_files(["."], repository.root)
        assert _paths(listing) == [".autogitignore", ".gitignore", "tracked.md", "vendor/node_modules/own.js"]
        assert ([one.path for one in listing.skipped], listing.ignored) == (["node_modules"], 1)

    def test_a_folder_that_is_reached_by_a_link_is_judged_by_the_same_patterns(self, repository, tmp_path):
        repository.write("docs/attacks/a.md", "text")
        repository.write("docs/b.md", "text")
        repository.write(".autogitignore", "/docs/attacks/\n")
        (tmp_path / "link").symlink_to(repository.root / "docs")
        listing = list_files(["link"], tmp_path)
        assert (_paths(listing), listing.ignored) == (["link/b.md"], 1)

    def test_within_a_hook_a_folder_is_asked_for_its_own_files(self, repository, tmp_path, monkeypatch):
        repository.write("a.md", "one\n")
        other = tmp_path / "other"
        other.mkdir()
        (other / "b.md").write_text("text")
        monkeypatch.setenv("GIT_DIR", str(repository.root / ".git"))
        monkeypatch.setenv("GIT_INDEX_FILE", str(repository.root / ".git" / "index"))
        assert _paths(list_files(["."], other)) == ["b.md"]
        assert [text.path for text in _staged(repository)] == ["a.md"]

    def test_a_folder_that_git_ignores_is_scanned_where_it_is_named(self, repository):
        (repository.root / ".gitignore").write_text("build/\n")
        (repository.root / "build").mkdir()
        (repository.root / "build" / "out.md").write_text("text")
        assert _paths(list_files(["build"], repository.root)) == ["build/out.md"]

    def test_a_repository_within_is_not_passed_over_in_silence(self, repository):
        inner = repository.root / "inner"
        inner.mkdir()
        subprocess.run(["git", "init", "-q"], cwd=inner, check=True)
        (inner / "a.md").write_text("text")
        listing = list_files(["."], repository.root)
        assert _paths(listing) == []
        assert listing.skipped == [Skipped("inner", "a git repository of its own: name it to scan it")]
