import pytest

from tests.bench.startup import STANDARD_LIBRARY, by_package

PRINTED = """\
import time: self [us] | cumulative | imported package
import time:       100 |        100 |   _json
import time:       200 |        300 | json
import time:      1000 |       1300 |   aiohttp.connector
import time:       500 |       1800 | aiohttp
import time:        50 |       1850 | gateway.cli.serve
a line of a log
"""


def test_imports_are_summed_by_top_package_slowest_first():
    packages, seconds = zip(*by_package(PRINTED), strict=True)
    assert packages == ("aiohttp", STANDARD_LIBRARY, "gateway")
    assert seconds == pytest.approx((0.0015, 0.0003, 0.00005))
