"""Memory for what is sent: one team leaves room for the others, and nothing stays taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.errors import TooLarge, TooManyRequests
from lepton_site.room import MAX_BYTES, TEAM_SHARE, Room

MB = 2**20
ONE, OTHER = 1, 2


@pytest.fixture(autouse=True)
def limit(settings):
    settings.LEPTON_MAX_PREDICT_BYTES = 20 * MB


def fill(room: Room, team_id: int) -> int:
    """Bytes that the team gets in bodies of 16 MB."""
    taken = 0
    while True:
        try:
            taken += room.take(team_id, 16 * MB)
        except TooManyRequests as refused:
            assert refused.code == "overloaded"
            return taken


def test_one_team_cannot_take_what_another_needs():
    room = Room()
    assert fill(room, ONE) == MAX_BYTES * TEAM_SHARE
    assert room.take(OTHER, 16 * MB) == 16 * MB
    room.give_back(ONE, 16 * MB)
    assert room.take(ONE, 16 * MB) == 16 * MB


def test_all_teams_together_do_not_take_more_than_there_is():
    room = Room()
    assert sum(fill(room, team_id) for team_id in range(4)) == MAX_BYTES == room.taken_bytes


def test_a_body_of_no_known_size_takes_the_most_that_one_may_have_and_a_larger_one_is_refused():
    room = Room()
    with room.held(ONE, None):
        assert room.taken_bytes == 20 * MB
    with pytest.raises(TooLarge):
        room.take(ONE, 20 * MB + 1)
    assert room.taken_bytes == 0


@given(st.lists(st.tuples(st.sampled_from([ONE, OTHER]), st.integers(0, 2 * MB)), max_size=30))
def test_what_is_given_back_is_free_again(bodies):
    room = Room()
    for team_id, reserved in [(team_id, room.take(team_id, size)) for team_id, size in bodies]:
        room.give_back(team_id, reserved)
    assert (room.taken_bytes, len(room._taken)) == (0, 0)
