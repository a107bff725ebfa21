import pytest

from tests.bench import wrk
from tests.bench.client import Ask

PRINTED = """\
Running 2s test @ http://127.0.0.1:8080
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.66ms    1.10ms  24.16ms   91.00%
    Req/Sec    12.33k     1.20k   13.50k    75.00%
  Latency Distribution
     50%    2.25ms
     75%    2.60ms
     90%    3.10ms
     99%    1.20s
  24531 requests in 2.00s, 65.11MB read
Requests/sec:  12255.43
Transfer/sec:     32.53MB
"""


def test_the_printed_report_is_read():
    load = wrk.parse(PRINTED)
    assert (load.requests, load.rate, load.failed) == (24531, 12255.43, 0)
    assert [load.p50, load.p99] == pytest.approx([0.00225, 1.2])


def test_failed_answers_and_broken_connections_are_added_up():
    more = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 100\n"
    assert wrk.parse(PRINTED + more).failed == 110


def test_anything_else_is_no_report():
    with pytest.raises(ValueError, match="not wrk's report"):
        wrk.parse("unable to connect to 127.0.0.1:8080 Connection refused")


@pytest.mark.parametrize(
    ("text", "expected"), [("250.00us", 0.00025), ("1.50ms", 0.0015), ("2.00s", 2.0), ("1.00m", 60.0)]
)
def test_units_become_seconds(text, expected):
    assert wrk.seconds(text) == pytest.approx(expected)


def test_a_script_sends_every_request_with_its_users_token():
    script = wrk.script([Ask("/a?ids=1,2", "ada"), Ask("/b", "it's")], {"Cache-Control": "no-cache"})
    assert (
        "wrk.format('GET', '/a?ids=1,2', {['Cache-Control'] = 'no-cache', ['Music-User-Token'] = 'ada'})"
        in script
    )
    assert r"['Music-User-Token'] = 'it\'s'" in script
