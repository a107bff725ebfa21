import pytest

from gateway.errors import AppleError, BreakerOpen, GatewayError, Quarantined, Refused, Source
from gateway.model import Id, Kind
from gateway.telemetry.recent import MAX_KEPT, RecentErrors, read_target, shown

TOKEN = "Ao2VeryLongUserTokenThatWasPutWhereNoneBelongs"


def refused(status=400, detail="No ids of albums: 'x'.", source=None):
    return Refused(status, "40005", "Invalid Parameter Value", detail, source=source)


def add(recent, error, at=0.0, **more):
    recent.add(error, request_id="r", at=at, method="GET", route="/v1/me/ratings/{type}", **more)


def test_errors_are_listed_newest_first():
    recent = RecentErrors()
    for at in (3.0, 1.0, 2.0):
        add(recent, BreakerOpen("Not asked."), at)
    assert [error.at for error in recent.latest()] == [3.0, 2.0, 1.0]


def test_many_refusals_do_not_push_out_failures():
    recent = RecentErrors()
    add(recent, BreakerOpen("Not asked."))
    for at in range(1_000):
        add(recent, refused(), at)
    assert len(recent.latest()) == MAX_KEPT + 1
    assert recent.latest()[-1].status == 503


def test_the_number_of_failures_is_bounded():
    recent = RecentErrors()
    for at in range(1_000):
        add(recent, GatewayError("The gateway failed: KeyError."), at)
    assert len(recent.latest()) == MAX_KEPT


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BreakerOpen("Apple Music is not asked for now."), "Apple Music is not asked for now."),
        (AppleError(500, b"{}"), "Apple Music answered 500."),
        (Quarantined(403, b"{}"), "Apple Music answered 403."),
        (refused(source=Source(parameter="ids")), "Invalid Parameter Value: ids"),
        (refused(source=Source(pointer="/attributes/value")), "Invalid Parameter Value: /attributes/value"),
        (refused(), "Invalid Parameter Value"),
    ],
)
def test_the_detail_says_what_failed(error, text):
    assert shown(error) == text


@pytest.mark.parametrize(
    "error",
    [
        refused(detail=f"There is nothing at /v1/{TOKEN}."),
        refused(detail=f"No ids of albums: '{TOKEN}'.", source=Source(parameter="ids")),
        refused(source=Source(parameter=TOKEN)),
        refused(source=Source(pointer=f"/ids/{TOKEN}")),
    ],
)
def test_no_text_of_the_caller_is_kept(error):
    recent = RecentErrors()
    add(recent, error)
    assert TOKEN not in repr(recent.latest())


def test_an_error_has_a_target_that_reads_the_same_ids():
    recent = RecentErrors()
    again = read_target(Kind.SONGS, [Id("1"), Id("2")])
    add(recent, BreakerOpen("Not asked."), again=again)
    assert recent.latest()[0].again == "/v1/me/ratings/songs?ids=1,2"


def test_the_target_reads_at_most_five_ids():
    assert (
        read_target(Kind.ALBUMS, [Id(str(id_)) for id_ in range(100)])
        == "/v1/me/ratings/albums?ids=0,1,2,3,4"
    )
