import shlex
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.options import UnhosedConfigParser, expand

from autogit.errors import UnsupportedError
from autogit.model.spec import Program
from autogit.providers.compute.program_conf import ProgramRecord, parse_record, quote, record_text, supervisord_conf

PROGRAM = Program("web", "/bin/web", ("--x",), {"A": "b"}, 8080, "/health", "/ready", "HUP", "INT", 7, 20)
PRINTABLE = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"), max_size=30)
AWKWARD = st.lists(st.sampled_from([" ;", " #", "%(here)s", "%%(here)s", "%(ENV_HOME)s", "'", '"', "\\", "%", "é"]))


def words_supervisord_reads(conf, section="program:web.a1"):
    """Read a command as supervisord does: ini reader, `here`, expansion, shell words."""
    parser = UnhosedConfigParser()
    parser.read_file(StringIO(conf))
    parser.expand_here("/somewhere")
    return shlex.split(expand(parser.get(section, "command"), {"here": "/somewhere"}, "command"))


RECORDS = (ProgramRecord(PROGRAM, "a1", "", "/data"),)


def conf_of(*launcher, records=RECORDS):
    return supervisord_conf(records, socket="supervisor.sock", logs="../logs", launcher=launcher)


@given(PRINTABLE | AWKWARD.map("".join))
def test_supervisord_reads_back_every_word_of_a_command(word):
    assert words_supervisord_reads(conf_of("/bin/python", word)) == ["/bin/python", word, "programs/web.a1.json"]


@pytest.mark.parametrize("word", ["a\nb", "a\rb", "\udcff"])
def test_a_path_that_supervisord_cannot_hold_is_refused(word):
    with pytest.raises(UnsupportedError, match="path of this installation"):
        quote(word)


text = st.text(st.characters(exclude_characters="\0"), max_size=20)
names = st.text(st.characters(exclude_characters="\0="), min_size=1, max_size=10)


@given(st.lists(text, max_size=4), st.dictionaries(names, text, max_size=4))
def test_a_record_gives_back_any_arguments_and_environment(arguments, environment):
    program = Program("web", "/bin/web", tuple(arguments), environment, 1, "/h", "/r", None, "TERM", 1, 2)
    record = ProgramRecord(program, "a1", "r1", "/data")
    assert parse_record(record_text(record)) == record


@pytest.mark.parametrize("damaged", ["", "{}", "[]", "null", '{"version": "a"}', "\0"])
def test_a_damaged_record_is_a_value_error(damaged):
    with pytest.raises(ValueError):
        parse_record(damaged)


def test_neither_arguments_nor_environment_stand_in_the_supervisors_configuration():
    assert "--x" not in conf_of("/bin/python")
    assert "A=" not in conf_of("/bin/python")


def test_the_signal_and_grace_of_a_program_reach_supervisord():
    parser = UnhosedConfigParser()
    parser.read_file(StringIO(conf_of("/bin/python")))
    section = dict(parser.items("program:web.a1"))
    assert (section["stopsignal"], section["stopwaitsecs"]) == ("INT", "7")
    assert section["stdout_logfile"] == "../logs/web.log"


def test_the_configuration_does_not_depend_on_the_order_of_records():
    records = [ProgramRecord(PROGRAM, version, "", "/data") for version in ("b2", "a1")]
    assert conf_of("/bin/python", records=records) == conf_of("/bin/python", records=reversed(records))
