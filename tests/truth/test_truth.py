"""Reads keep what the README guarantees in random histories, and every break of the write rule is found.

RATINGS_GATEWAY_EXAMPLES is the number of histories: `python -m pytest tests/truth -k no_read`.
"""

import inspect
import os
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.truth import broken
from tests.truth.broken import BY_CHANCE, BY_STORY, Break
from tests.truth.machine import PromiseBroken, Truths
from tests.truth.stories import Story

EXAMPLES = int(os.environ.get("RATINGS_GATEWAY_EXAMPLES", "300"))
ENOUGH = 500
"""Histories within which every break is found."""


def try_stories(examples: int, phases: Sequence[Phase] = (Phase.generate, Phase.shrink)) -> None:
    run_state_machine_as_test(
        Truths,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            phases=phases,
            deadline=None,
            report_multiple_bugs=False,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def play(story: Story) -> None:
    truths = Truths()
    try:
        story(truths)
    finally:
        truths.teardown()


def named(each: Callable[..., None]) -> str:
    return each.__name__


def test_no_read_breaks_a_promise() -> None:
    try_stories(EXAMPLES)


def test_every_break_is_tried() -> None:
    written = {each for _, each in inspect.getmembers(broken, inspect.isfunction)}
    assert written == {*BY_CHANCE, *BY_STORY}


@pytest.mark.parametrize("way", BY_CHANCE, ids=named)
def test_a_broken_rule_is_found(way: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    way(monkeypatch)
    with pytest.raises(PromiseBroken):
        try_stories(ENOUGH, [Phase.generate])


@pytest.mark.parametrize("story", BY_STORY.values(), ids=named)
def test_a_story_keeps_the_promises_if_nothing_is_broken(story: Story) -> None:
    play(story)


@pytest.mark.parametrize(("way", "story"), BY_STORY.items(), ids=named)
def test_a_story_shows_what_is_broken(way: Break, story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    way(monkeypatch)
    with pytest.raises(PromiseBroken):
        play(story)
