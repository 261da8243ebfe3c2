from autogit.providers.compute import logtail


def test_the_last_lines_of_a_long_file_come_oldest_first(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {n} {'x' * 90}\n" for n in range(3000)))
    assert [line.split()[1] for line in logtail.tail(log, 1500)] == [str(n) for n in range(1500, 3000)]


def test_only_what_was_written_since_is_read(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("old\n")
    since = logtail.size(log)
    with log.open("a") as file:
        file.write("new\n")
    assert logtail.tail(log, 10, since=since) == ["new"]


def test_a_file_rotated_meanwhile_is_read_from_its_beginning(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("new\n")
    assert logtail.tail(log, 10, since=5000) == ["new"]


def test_the_rotated_file_fills_up_what_the_present_one_lacks(tmp_path):
    (tmp_path / "a.log.1").write_text("1\n2\n3\n")
    (tmp_path / "a.log").write_text("4\n")
    assert logtail.tail_rotated(tmp_path / "a.log", 3) == ["2", "3", "4"]


def test_no_file_and_bytes_that_are_no_text_are_harmless(tmp_path):
    assert logtail.tail(tmp_path / "none", 5) == []
    (tmp_path / "a.log").write_bytes(b"a\xff\n")
    assert logtail.tail(tmp_path / "a.log", 5) == ["a\ufffd"]
