"""Secrets never get through, however the text is cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ridgeway.ci.azure.masking import Masker, masked

KEY = "-----BEGIN KEY-----\nMIIB+/x\n  0Kq==\n-----END KEY-----\n"


def test_a_secret_over_several_lines_is_masked_whole_and_line_by_line() -> None:
    assert masked(f"a {KEY} b", [KEY]) == "a *** b"
    assert masked("line: MIIB+/x, 0Kq==", [KEY]) == "line: ***, ***"


def test_forms_of_json_and_addresses_are_masked() -> None:
    assert masked('{"k": "p\\"w\\u00e9"} p%22w%C3%A9', ['p"wé']) == '{"k": "***"} ***'


def test_overlapping_secrets_leave_nothing_of_either() -> None:
    assert masked("xabcd", ["xab", "bcd"]) == "***"
    assert masked("abcabcd", ["abc", "abcd"]) == "******"


def test_a_beginning_is_held_back_and_given_when_nothing_comes() -> None:
    masker = Masker(["secret"])
    assert [masker.feed("a sec"), masker.feed("ond "), masker.feed("se"), masker.end()] == ["a ", "second ", "", "se"]


def test_secrets_can_be_added_on_the_way() -> None:
    masker = Masker()
    assert masker.feed("token ") == "token "
    masker.add("token")
    assert masker.feed("token ") == "*** "


@given(
    st.lists(st.text("ab\n", min_size=1, max_size=5), min_size=1, max_size=4),
    st.text("abc\n", max_size=40),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_cuts_do_not_matter(secrets: list[str], text: str, cuts: list[int]) -> None:
    masker, shown, last = Masker(secrets), "", 0
    for cut in sorted(cuts):
        shown += masker.feed(text[last:cut])
        last = max(last, cut)
    shown += masker.feed(text[last:]) + masker.end()
    assert shown == masked(text, secrets)
    for secret in secrets:
        assert secret not in shown.replace("***", "\x00")
