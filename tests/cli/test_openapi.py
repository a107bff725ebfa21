import json


def test_the_document_is_printed_as_json(run):
    ran = run("openapi")
    assert ran.status == 0
    assert json.loads(ran.out)["openapi"].startswith("3.1")
