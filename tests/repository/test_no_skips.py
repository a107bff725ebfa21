"""With RATINGS_GATEWAY_NO_SKIPS=1 a test that would be skipped fails; else it says why it is skipped."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = Path(__file__).parents[1] / "conftest.py"


@pytest.fixture
def suite(pytester, monkeypatch):
    monkeypatch.delenv("RATINGS_GATEWAY_MAY_MISS", raising=False)
    pytester.makeconftest(CONFTEST.read_text(encoding="utf-8"))
    pytester.makeini(
        """
        [pytest]
        asyncio_default_fixture_loop_scope = function
        markers =
            needs(*programs): needs programs
            redis_server: needs redis-server
        """
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.needs("python3", "no-such-program")
        def test_that_needs_a_program():
            raise AssertionError

        @pytest.mark.xfail(reason="known")
        def test_that_fails_as_known():
            raise AssertionError

        def test_that_needs_nothing():
            pass
        """
    )
    return pytester


def test_a_missing_program_skips_with_its_name(suite, monkeypatch):
    monkeypatch.delenv("RATINGS_GATEWAY_NO_SKIPS", raising=False)
    result = suite.runpytest_inprocess("-rs", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, skipped=1, xfailed=1)
    result.stdout.fnmatch_lines(["*not installed: no-such-program*"])


def test_a_missing_program_fails_where_skips_are_refused(suite, monkeypatch):
    monkeypatch.setenv("RATINGS_GATEWAY_NO_SKIPS", "1")
    result = suite.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1, xfailed=1)
    result.stdout.fnmatch_lines(["*skipping is not allowed here*no-such-program*"])


@pytest.mark.parametrize(("may_miss", "outcome"), [("a,no-such-program", "skipped"), ("a", "errors")])
def test_only_programs_that_are_named_may_be_missing(suite, monkeypatch, may_miss, outcome):
    monkeypatch.setenv("RATINGS_GATEWAY_NO_SKIPS", "1")
    monkeypatch.setenv("RATINGS_GATEWAY_MAY_MISS", may_miss)
    result = suite.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, xfailed=1, **{outcome: 1})


def test_a_module_that_skips_itself_fails_too(suite, monkeypatch):
    monkeypatch.setenv("RATINGS_GATEWAY_NO_SKIPS", "1")
    suite.makepyfile(test_whole="import pytest\npytest.importorskip('no_such_module')\n")
    suite.runpytest_inprocess("-p", "no:cacheprovider", "test_whole.py").assert_outcomes(errors=1)
