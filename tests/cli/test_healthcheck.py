"""`healthcheck`: exit status and text by the answer of `/readyz`."""


def test_a_ready_gateway_is_0(run, gateway):
    assert run("healthcheck", "--ops-url", gateway.url + "/") == (0, "ready\n", "")
    assert [(asked.method, asked.path) for asked in gateway.asked] == [("GET", "/readyz")]


def test_a_gateway_that_is_not_ready_is_1_and_names_the_page_with_the_checks(run, gateway):
    gateway.always(503, "draining\n")
    ran = run("healthcheck", "--ops-url", gateway.url)
    assert ran.status == 1
    assert "answered 503: draining" in ran.err
    assert "/readyz?verbose" in ran.err


def test_the_url_of_the_api_is_1_and_named_as_that(run, gateway):
    gateway.always(404, {"errors": [{"detail": "There is nothing at /readyz."}]})
    ran = run("healthcheck", "--ops-url", gateway.url)
    assert ran.status == 1
    assert ran.err.endswith(
        "404: There is nothing at /readyz.\nIs this the ops listener (port 8081), not the API?\n"
    )


def test_an_ops_url_that_is_not_one_is_wrong_usage_with_an_example_of_an_ops_url(run):
    ran = run("healthcheck", "--ops-url", "nonsense")
    assert ran.status == 2
    assert "nonsense is not a URL such as http://127.0.0.1:8081" in ran.err


def test_no_answer_is_1(run):
    ran = run("healthcheck", "--ops-url", "http://127.0.0.1:1")
    assert ran.status == 1
    assert "no answer from http://127.0.0.1:1/readyz: Connection refused" in ran.err
