from tests.bench.profiling import Share, render, shares

SAMPLES = [
    "run (serve.py:10);handle (api.py:5);send (writer.py:1) 30",
    "run (serve.py:11);handle (api.py:7) 50",
    "run (serve.py:11);handle (api.py:7);handle (api.py:9) 20",
]


def test_a_function_has_the_samples_of_all_its_lines():
    found = {share.function: (share.total, share.alone) for share in shares(SAMPLES)}
    assert found["run (serve.py)"] == (1.0, 0.0)
    assert found["send (writer.py)"] == (0.3, 0.3)


def test_a_function_that_calls_itself_is_counted_once():
    handle = next(share for share in shares(SAMPLES) if share.function == "handle (api.py)")
    assert handle == Share("handle (api.py)", 1.0, 0.7)


def test_other_threads_do_not_count():
    assert shares([*SAMPLES, "Thread._bootstrap (threading.py:1002);wait (x.py:1) 900"]) == shares(SAMPLES)


def test_the_greatest_share_is_printed_first():
    text = render({"a path": shares(SAMPLES)}).splitlines()
    assert text[0].startswith("a path")
    assert [line.split()[2] for line in text[1:3]] == ["handle", "send"]
    assert text[1].split()[:2] == ["100.0%", "70.0%"]
