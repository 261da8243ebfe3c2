import subprocess
import sys
import xmlrpc.client

import pytest

from autogit.errors import RejectedError, UnavailableError
from autogit.providers.compute import supervisor_wire as wire


def test_a_short_path_keeps_the_socket_in_the_projects_folder():
    assert wire.socket_path("/home/me/p/.autogit/supervisor") == "/home/me/p/.autogit/supervisor/supervisor.sock"


def test_long_paths_get_one_private_socket_each_that_fits():
    first, again, other = (wire.socket_path("/home/" + c * 90) for c in "aab")
    assert first == again != other
    assert len(first) <= 96


def test_nobody_there_is_none_for_a_read_and_unavailable_for_a_call(tmp_path):
    path = str(tmp_path / "none.sock")
    assert wire.process_states(path) is None
    with pytest.raises(UnavailableError, match="does not answer"):
        wire.call(path, "getPID")


def test_the_fast_read_imports_nothing_heavy():
    code = (
        "import sys, autogit.providers.compute.supervisor_wire, autogit.providers.probe;"
        "print([m for m in ('ssl','http.client','xmlrpc','asyncio','urllib','json','pathlib','typing','re')"
        " if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.integration
def test_the_fast_read_agrees_with_a_full_xml_rpc_reader(project, free_port):
    project.apply(project.wish("web", free_port()), project.wish("other", free_port()))
    path = wire.socket_path(str(project.paths.supervisor))
    full = wire.call(path, "getAllProcessInfo")
    raw = wire.process_infos(path)
    assert [{k: str(v) for k, v in info.items()} for info in full] == raw
    assert [(n, s) for n, s, _, _ in wire.process_states(path)] == [("other.a1", "RUNNING"), ("web.a1", "RUNNING")]


@pytest.mark.integration
def test_a_fault_is_told_unless_it_is_expected(project, free_port):
    project.apply(project.wish("web", free_port()))
    path = wire.socket_path(str(project.paths.supervisor))
    with pytest.raises(RejectedError, match="refuses startProcess: BAD_NAME") as caught:
        wire.call(path, "startProcess", "nobody")
    assert isinstance(caught.value.__cause__, xmlrpc.client.Fault)
    assert wire.call(path, "startProcess", "nobody", ignore=frozenset({wire.FAULT_BAD_NAME})) is None
