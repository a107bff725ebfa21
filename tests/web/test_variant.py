import pytest

from gateway.errors import Refused
from gateway.model import PLAIN, has_other_parameters
from gateway.web.variant import (
    MAX_PARAMETERS,
    read_parameters,
    refuse_parameters,
)


@pytest.mark.parametrize(
    "query",
    [
        "include=content&extend=a,b&l=de",
        "l=de&extend=b&extend=a&include=content,content",
        "extend=b%2Ca&include=%20content&l=de&",
    ],
)
def test_spellings_of_one_variant_are_one(query):
    parameters = read_parameters(query)
    assert parameters.variant == "extend=a,b&include=content&l=de"
    assert not has_other_parameters(parameters.variant)


@pytest.mark.parametrize("query", ["", "include=&l=", "&&"])
def test_empty_parameters_make_no_variant(query):
    assert read_parameters(query).variant == PLAIN


@pytest.mark.parametrize(
    ("query", "variant"),
    [
        ("platform=web", "platform=web"),
        ("b=1&a=%2c+%20&ids=7", "a=%2c+%20&b=1"),
        ("x=2&fields[albums]=a&x=1&x", "fields[albums]=a&x=2&x=1&x"),
        ("omit%5Bresource%5D=autos&l=de", "l=de&omit%5Bresource%5D=autos"),
        ("l=de&l=en", "l=de&l=en"),
    ],
)
def test_other_parameters_are_kept_byte_for_byte_sorted_by_name(query, variant):
    parameters = read_parameters(query)
    assert parameters.variant == variant
    assert has_other_parameters(parameters.variant)


def test_ids_are_decoded_under_any_spelling_of_their_name():
    assert read_parameters("ids=1%2C2&%69ds=3+").ids == ("1,2", "3 ")


def test_a_value_cannot_leave_its_parameter():
    assert read_parameters("l=de%26ids%3D2").variant == "l=de%26ids%3D2"


def test_a_route_without_parameters_refuses_any():
    refuse_parameters("")
    with pytest.raises(Refused, match="got 'ids'") as refused:
        refuse_parameters("ids=1")
    assert refused.value.code == "40005"


def test_more_parameters_than_ids_could_be_are_refused():
    assert len(read_parameters("&".join(["ids=1"] * MAX_PARAMETERS)).ids) == MAX_PARAMETERS
    with pytest.raises(Refused, match="at most 20,000 query parameters"):
        read_parameters("&".join(["a"] * (MAX_PARAMETERS + 1)))
