"""The frame of a page: navigation, stylesheet, headers, and its building blocks."""

import re
from base64 import b64encode
from hashlib import sha256

import pytest

from gateway.ops.page import LINKS, facts, headers, labelled, page, secret, section, stylesheet
from tests.ops.html import Document


def framed(*main: object, here: str = "/status") -> Document:
    return Document(page("Status & more", *main, here=here))


def test_the_title_names_the_page_and_the_product():
    document = framed()
    assert "<title>Status &amp; more · ratings-gateway</title>" in document.source


def test_the_navigation_links_to_every_page_and_marks_the_current_one():
    document = framed(here="/docs")
    links = [element for element in document.all("a") if "nav" in element.path]
    assert [link.attributes["href"] for link in links] == [link.path for link in LINKS]
    assert [link.attributes["href"] for link in links if "aria-current" in link.attributes] == ["/docs"]


def test_text_in_the_main_part_is_escaped():
    assert "<script" not in framed("<script>alert(1)</script>").source


def test_the_content_policy_allows_the_stylesheet_of_the_page_and_no_other():
    (style,) = re.findall(r"<style>(.*?)</style>", framed().source, re.DOTALL)
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = headers()["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}';" in policy


def test_a_section_is_labelled_by_its_heading():
    document = Document(section("Now", "text", id_="now"))
    assert [heading.attributes["id"] for heading in document.all("h2")] == ["now-heading"]
    assert document.all("section")[0].attributes == {"id": "now", "aria-labelledby": "now-heading"}


def test_facts_pair_names_with_values():
    assert facts(("Calls", 3), ("Rate", "1/s")) == (
        '<dl class="facts"><div><dt>Calls</dt><dd>3</dd></div><div><dt>Rate</dt><dd>1/s</dd></div></dl>'
    )


def test_a_secret_field_is_masked_required_and_not_remembered():
    (field,) = Document(labelled("Ops token", secret("ops_token"))).all("input")
    assert field.path == ("label",)
    assert field.attributes == {
        "type": "password",
        "name": "ops_token",
        "required": None,
        "autocomplete": "off",
    }


SURFACES = {
    "ground": ("text", "quiet", "accent"),
    "raised": ("text", "quiet", "accent"),
    "bad-ground": ("text", "quiet", "accent", "bad"),
    "warn-ground": ("text", "quiet", "accent", "warn"),
    "good-ground": ("text", "quiet", "good"),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ground", "ink"), [(ground, ink) for ground, inks in SURFACES.items() for ink in inks]
)
def test_text_contrasts_with_its_ground(scheme, ground, ink):
    light, dark = (
        dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", stylesheet(), re.DOTALL)
    )
    palette = light if scheme == "light" else dark
    assert contrast(palette[ground], palette[ink]) >= 4.5


def contrast(one, other):
    """The contrast ratio of WCAG 2."""
    darker, lighter = sorted(luminance(colour) for colour in (one, other))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour):
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
