"""What of a request's body is judged: every text that some reader may see in it, within limits."""

from __future__ import annotations

import gzip
import json
import zlib
from encodings.aliases import aliases

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from autogit.security.verdict.encodings import TooLargeError, UnreadableError, decoded
from autogit.security.verdict.texts import joined, texts_of

WORDS = "words that somebody wrote"
FORM = "application/x-www-form-urlencoded"
PACKERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


def _raw_deflate(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def multipart(*parts, end="--"):
    return ("".join(f"--zz\r\n{head}\r\n\r\n{body}\r\n" for head, body in parts) + f"--zz{end}").encode()


# --- Texts ------------------------------------------------------------------------------------------------------------


def test_keys_and_values_of_json_are_found_at_any_depth_and_in_order():
    body = json.dumps({"a": [{"b": "one"}, "two", 3, None, True], "c": {"d": {"e": "three"}}})
    assert texts_of(body.encode(), "application/json") == ["a", "b", "one", "two", "c", "d", "e", "three"]


def test_a_key_that_stands_twice_has_two_values():
    assert texts_of(b'{"a": "one", "a": "two"}', "application/json") == ["a", "one", "a", "two"]


def test_lines_of_json_are_read_one_by_one():
    assert texts_of(b'{"a":"one\\u0021"}\n\n{"a":"two"}\n', "application/x-ndjson") == ["a", "one!", "a", "two"]


@pytest.mark.parametrize(
    "body",
    [b'{"a": "' + WORDS.encode(), b"[" * 100000 + WORDS.encode(), b'{"a": ' + b"9" * 5000 + b"} " + WORDS.encode()],
)
def test_what_is_not_json_is_a_text_as_it_stands(body):
    assert texts_of(body, "application/json") == [body.decode()]


def test_lone_surrogates_become_replacement_characters():
    assert texts_of(b'{"a": "x\\ud800y\\ud83d\\ude00"}', "application/json") == ["a", "x\ufffdy\U0001f600"]


@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_read_by_their_mark_or_their_form(charset):
    assert f"{WORDS} äöü" in texts_of(f"{WORDS} äöü".encode(charset), "text/plain")


@pytest.mark.parametrize("lie", [b"\xff\xfe", b"\x00" * 400, b"\xef\xbb\xbf"])
def test_a_false_mark_hides_nothing(lie):
    assert any(WORDS in text for text in texts_of(lie + WORDS.encode(), "text/plain"))


def test_a_false_charset_hides_nothing():
    assert WORDS in texts_of(WORDS.encode(), "text/plain; charset=utf-16")
    assert WORDS in texts_of(WORDS.encode("utf-16-le"), "text/plain; charset=utf-16-le")
    assert texts_of(WORDS.encode(), "text/plain; charset=idna") == [WORDS]


@pytest.mark.parametrize(
    "charset", ["iso-8859-99", "windows-1259", "utf-8-be", "cp1259", "x\0y", "ibm99999", "hex", "é"]
)
def test_a_charset_that_nobody_knows_is_none(charset):
    assert texts_of(WORDS.encode(), f"text/plain; charset={charset}")[-1] == WORDS


def test_no_charset_that_python_knows_by_any_name_is_too_odd():
    for charset in (*aliases, "idna", "punycode", "undefined", "unicode_escape"):
        assert WORDS in texts_of(WORDS.encode(), f"text/plain; charset={charset}"), charset


@pytest.mark.parametrize("charset", ["cp037", "IBM037", "ibm-1140", "cp500", "utf16le", "UTF-32BE", "koi8-u", "utf-7"])
def test_what_a_charset_says_is_read_that_way(charset):
    codec = {"utf16le": "utf-16-le", "ibm-1140": "cp1140"}.get(charset, charset)
    assert WORDS in texts_of(WORDS.encode(codec), f"text/plain; charset={charset}")


def test_pages_of_ebcdic_that_are_unknown_have_the_same_letters():
    assert WORDS in texts_of(WORDS.encode("cp037"), "text/plain; charset=IBM1047")


def test_a_charset_may_be_that_of_what_percent_signs_stand_for():
    body = "a=" + "".join(f"%{byte:02x}" for byte in WORDS.encode("cp037"))
    assert WORDS in texts_of(body.encode(), f"{FORM}; charset=ibm037")


def test_xml_in_ebcdic_is_known_by_its_beginning():
    text = f'<?xml version="1.0"?><a>{WORDS}</a>'
    assert text in texts_of(text.encode("cp037"), "application/xml")


def test_no_words_are_torn_apart_by_cdata():
    assert "<a>words that</a>" in texts_of(b"<a>wor<![CDATA[ds th]]>at</a>", "application/xml")


def test_a_lists_name_does_not_part_its_values():
    assert texts_of(b"a[]=one&a[]=two&b=three&a[]=four", FORM) == ["a[]", "one", "two", "b", "three", "a[]", "four"]


def test_forms_are_split_into_names_and_values():
    assert texts_of(b"a=one+two&b%5Bc%5D=%C3%A4&d", FORM) == ["a", "one two", "b[c]", "ä", "d"]


def test_a_form_that_looks_like_json_is_a_form():
    assert texts_of(b"%7Ba=one%21", FORM) == ["{a", "one!"]
    assert texts_of(b"{a=one%21", FORM) == ["{a", "one!"]


def test_a_form_of_very_many_fields_is_one_text():
    assert len(texts_of(b"a=%41&" * 20000, FORM)) == 1


def test_a_body_without_a_type_is_read_in_every_way():
    assert texts_of(b"a=one%21", "") == ["a=one%21", "one!"]
    assert texts_of(b'{"a": "one"}', "") == ["a", "one"]


def test_parts_of_multipart_are_texts_with_their_names():
    body = multipart(
        ('Content-Disposition: form-data; name="title"', "one"),
        ('Content-Disposition: form-data; name="file"; filename="note.txt"\r\nContent-Type: text/plain', "two"),
        ('Content-Disposition: form-data; name="data"\r\nContent-Type: application/json', '{"a": "three"}'),
    )
    found = texts_of(body, 'multipart/form-data; boundary="zz"')
    assert found == ["title", "one", "file", "note.txt", "two", "data", "a", "three"]


def test_a_part_that_is_text_is_judged_whatever_type_it_claims():
    head = 'Content-Disposition: form-data; name="file"; filename="a.png"\r\nContent-Type: image/png'
    assert WORDS in texts_of(multipart((head, WORDS)), "multipart/form-data; boundary=zz")
    assert WORDS not in texts_of(multipart((head, f"\0\0{WORDS}")), "multipart/form-data; boundary=zz")
    for content in (
        f"{WORDS} at length, and so on\0".encode(),
        f"{WORDS} é".encode("latin-1"),
        WORDS.encode("utf-16-le"),
    ):
        body = multipart((head, "CONTENT")).replace(b"CONTENT", content)
        assert any(WORDS in text for text in texts_of(body, "multipart/form-data; boundary=zz")), content
    assert not any(
        WORDS in text for text in texts_of(multipart((head, f"%PDF-1.7 {WORDS}")), "multipart/a; boundary=zz")
    )


def test_where_two_boundaries_are_named_all_is_judged():
    inner = f"--yy\r\nContent-Type: image/png\r\n\r\n\0\0\r\n{multipart(('A: b', WORDS)).decode()}\r\n--yy--"
    for order in ("yy; boundary=zz", "zz; boundary=yy"):
        assert any(WORDS in text for text in texts_of(inner.encode(), f"multipart/form-data; boundary={order}"))


def test_a_files_name_is_read_as_browsers_and_as_mail_write_it():
    for name in (
        "filename=words.md",
        "filename*=UTF-8''words.md",
        "filename*=utf-8'en'words.md",
        'filename="words.md"',
    ):
        found = texts_of(
            multipart((f"Content-Disposition: form-data; {name}", "x")), "multipart/form-data; boundary=zz"
        )
        assert any("words.md" in text for text in found), name


@pytest.mark.parametrize(
    "body",
    [
        multipart(("Content-Disposition: form-data", WORDS), end=""),
        WORDS.encode(),
        b"--zz\n\n" + WORDS.encode() + b"\n--zz--",
        b"--zz\r\nno end of its head " + WORDS.encode() + b"\r\n--zz--",
        multipart(*([("A: b", "x")] * 600), ("A: b", WORDS)),
    ],
)
def test_multipart_that_is_not_what_it_says_is_judged_as_a_whole(body):
    assert any(WORDS in text for text in texts_of(body, "multipart/form-data; boundary=zz"))


def test_what_stands_before_and_after_the_parts_is_judged():
    body = b"before\r\n" + multipart(("A: b", "within")) + b"\r\nafter"
    assert texts_of(body, "multipart/mixed; boundary=zz") == ["before", "within", "after"]


def test_nested_multipart_is_read_to_a_depth_and_then_as_it_stands():
    body = WORDS.encode()
    for depth in range(6):
        body = f"--b{depth}\r\nContent-Type: multipart/mixed; boundary=b{depth - 1}\r\n\r\n".encode() + body
        body += f"\r\n--b{depth}--".encode()
    assert any(WORDS in text for text in texts_of(body, "multipart/mixed; boundary=b5"))


KINDS = ["application/json", FORM, "multipart/form-data; boundary=zz", "text/plain; charset=utf-16", "", "é;;==,"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(KINDS))
def test_no_body_is_too_odd(body, kind):
    for text in texts_of(body, kind):
        text.encode()  # no lone surrogate is left


def test_joined_texts_tell_where_each_begins():
    text, starts = joined(["one", "", "three"])
    assert [text[place : place + 1] for place in starts] == ["o", "\n", "t"]


# --- Encodings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKERS)
def test_each_encoding_is_undone_and_several_in_turn(name):
    assert decoded(PACKERS[name](WORDS.encode()), name.upper(), 1000) == WORDS.encode()
    assert decoded(PACKERS[name](gzip.compress(WORDS.encode())), f"gzip, identity, {name}", 1000) == WORDS.encode()


def test_both_forms_of_deflate_are_read_and_all_members_of_gzip():
    assert decoded(_raw_deflate(WORDS.encode()), "deflate", 1000) == WORDS.encode()
    assert decoded(gzip.compress(b"one ") + gzip.compress(b"two"), "gzip", 1000) == b"one two"


@pytest.mark.parametrize("name", PACKERS)
def test_a_bomb_is_too_large_and_the_limit_itself_is_not(name):
    with pytest.raises(TooLargeError):
        decoded(PACKERS[name](bytes(50 << 20)), name, 100000)
    assert len(decoded(PACKERS[name](bytes(100000)), name, 100000)) == 100000
    with pytest.raises(TooLargeError):
        decoded(PACKERS[name](bytes(100001)), name, 100000)


@pytest.mark.parametrize("name", PACKERS)
def test_what_does_not_follow_its_encoding_is_unreadable(name):
    with pytest.raises(UnreadableError):
        decoded(b"plain words", name, 100000)


@pytest.mark.parametrize("name", ["gzip", "deflate", "br"])
def test_what_is_cut_off_is_unreadable(name):
    with pytest.raises(UnreadableError):
        decoded(PACKERS[name](WORDS.encode() * 100)[:-12], name, 100000)


def test_unknown_encodings_and_too_many_are_unreadable():
    for name in ("lzw", "gzip, gzip, gzip, gzip"):
        with pytest.raises(UnreadableError):
            decoded(b"", name, 1000)
    assert decoded(WORDS.encode(), "", 1000) == WORDS.encode()
