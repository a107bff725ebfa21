"""The state of a sandbox without a listener: users, ratings, tokens, and reset."""

import pytest

from gateway.model import Kind
from gateway.sandbox import ADA, CLEO, CannedReply, Credentials, Fault, Hold, Standing, Where
from gateway.sandbox.state import SandboxState
from tests.sandbox.conftest import HandClock


@pytest.fixture
def state(clock: HandClock) -> SandboxState:
    return SandboxState(clock=clock, sleep=clock.sleep)


def accepts(state: SandboxState, token: str) -> bool:
    return state.tokens.objection(f"Bearer {token}", origin=None, now=state.clock.time()) is None


def test_a_new_sandbox_has_the_users_of_the_guide(state):
    assert [user["label"] for user in state.users()] == ["ada", "ben", "cleo", "revoked", "unsubscribed"]
    assert state.rating(ADA, Kind.ALBUMS, "1138988512") == 1


@pytest.mark.parametrize("user", [CLEO, "cleo"])
def test_a_user_is_named_by_token_or_label(state, user):
    state.rate(user, Kind.SONGS, "5", -1)
    assert state.rating(user, Kind.SONGS, "5") == -1
    state.rate(user, Kind.SONGS, "5", None)
    assert state.rating(user, Kind.SONGS, "5") is None


def test_a_user_is_added_with_standing_and_ratings(state):
    state.add_user("sandbox-user-eve", standing=Standing.REVOKED, ratings={Kind.SONGS: {"5": 1}})
    assert state.users()[-1] == {
        "token": "sandbox-user-eve",
        "label": "eve",
        "standing": Standing.REVOKED,
        "ratings": {Kind.SONGS: {"5": 1}},
    }


def test_a_rating_of_a_pair_shows_on_both_sides(state):
    state.rate(CLEO, Kind.ALBUMS, "1138988512", -1)
    assert state.rating(CLEO, Kind.LIBRARY_ALBUMS, "l.sandbox1") == -1


def test_ratings_are_those_at_the_clocks_time(state, clock):
    state.store.write(ADA, Kind.SONGS, "5", 1, now=clock.monotonic(), lag=2)
    assert state.rating(ADA, Kind.SONGS, "5") is None
    clock.now = 2.0
    assert state.rating(ADA, Kind.SONGS, "5") == 1


def test_its_own_developer_tokens_are_accepted_until_they_expire(state, clock):
    token = state.developer_token(lifetime_seconds=60)
    assert accepts(state, token)
    clock.now = 60.0
    assert not accepts(state, token)


def test_tokens_of_trusted_keys_are_accepted_and_of_others_not(clock):
    other = Credentials.generate(key_id="SANDBOXTWO")
    token = other.developer_token(now=clock.time())
    assert accepts(SandboxState(clock=clock, trusted=[other.trusted()]), token)
    assert not accepts(SandboxState(clock=clock), token)


@pytest.mark.parametrize(
    ("credentials", "asked", "served"),
    [
        (None, None, True),
        (Credentials.generate(), None, False),
        (Credentials.generate(), True, True),
        (None, False, False),
    ],
    ids=["generated", "given", "given, on request", "generated, not wanted"],
)
def test_only_generated_keys_are_served_by_default(credentials, asked, served):
    assert SandboxState(credentials=credentials, serve_credentials=asked).serve_credentials is served


def test_a_hold_is_armed_for_matching_calls(state):
    held = state.hold(Where(method="GET"), times=1)
    assert held.fault == Fault(Hold("arrival"), Where(method="GET"), times=1)
    assert list(state.faults) == [held]


def test_reset_restores_users_ratings_pairs_keys_and_faults(state, clock):
    other = Credentials.generate(key_id="SANDBOXTWO")
    before = state.users()
    state.tokens.trust(other.trusted())
    state.tokens.distrust(state.credentials.key_id)
    state.add_user("sandbox-user-eve")
    state.rate(ADA, Kind.ALBUMS, "1138988512", -1)
    state.faults.add(CannedReply(500))
    state.reset()
    assert state.users() == before
    assert accepts(state, state.developer_token())
    assert not accepts(state, other.developer_token(now=clock.time()))
    assert not state.faults
    state.rate(CLEO, Kind.ALBUMS, "1138988512", 1)
    assert state.rating(CLEO, Kind.LIBRARY_ALBUMS, "l.sandbox1") == 1
