"""What is said alike is written alike, in the way that the settings say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.spelling import Spelling


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("  Where's the  station? ", "where's the station"),
        ("It\u2019s 'here'", "it's here"),
        ("the dogs' well-known \u201chouse\u201d", "the dogs well known house"),
        ("\u00c9tude, cafe\u0301!", "étude café"),
        ("\uff2b\uff4f\uff4e", "kon"),
        ("你好，世界。", "你好 世界"),
        ("5 € <unk>", "5 unk"),
        ("...", ""),
        ("", ""),
    ],
)
def test_case_and_marks_are_left_out(text, tidied):
    assert Spelling().tidy(text) == tidied


def test_what_is_to_be_kept_is_kept():
    assert Spelling(case="keep").tidy("Is Ann here?") == "Is Ann here"
    assert Spelling(punctuation="keep").tidy("Is  Ann here?") == "is ann here?"


@given(st.text(), st.sampled_from(["lower", "keep"]), st.sampled_from(["remove", "keep"]))
def test_what_is_tidy_stays_as_it_is(text, case, punctuation):
    spelling = Spelling(case, punctuation)
    tidied = spelling.tidy(text)
    assert spelling.tidy(tidied) == tidied
    assert tidied == " ".join(tidied.split())
