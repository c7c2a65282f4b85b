"""When a failed step is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowyard.errors.steps import InvalidOutput, ModelRefused, ProviderError, RateLimited, StepError, StepTimeout
from flowyard.language.nodes import RetryPolicy
from flowyard.runs.retry import retry_delay

_POLICY = RetryPolicy(max_retries=3, initial_delay=1.0, multiplier=2.0, max_delay=60.0)


def _limited(retry_after: float | None = None) -> RateLimited:
    return RateLimited("slow down", provider="p", model="m", retry_after=retry_after)


@pytest.mark.parametrize(("tries", "delay"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, None)])
def test_the_delay_doubles_until_no_try_is_left(tries: int, delay: float | None) -> None:
    assert retry_delay(_POLICY, _limited(), tries, 0.0) == delay


def test_the_delay_has_a_ceiling_however_often_one_tries() -> None:
    policy = RetryPolicy(max_retries=5000, initial_delay=1.0, multiplier=100.0, max_delay=60.0)
    assert retry_delay(policy, _limited(), 5000, 0.0) == 60.0


def test_no_retries_means_no_retry() -> None:
    assert retry_delay(RetryPolicy(max_retries=0), _limited(), 1, 0.0) is None


@pytest.mark.parametrize(
    "error", [ModelRefused("no", provider="p", model="m"), StepError("what"), InvalidOutput("bad", reply="x")]
)
def test_an_error_that_the_policy_does_not_name_is_not_tried_again(error: StepError) -> None:
    policy = RetryPolicy(errors=frozenset({"rate_limited", "timeout"}))
    assert retry_delay(policy, error, 1, 0.0) is None
    assert retry_delay(policy, StepTimeout("a", 1), 1, 0.0) == 1.0


def test_an_invalid_reply_goes_back_at_once_but_not_more_often_than_others() -> None:
    error = InvalidOutput("bad", reply="x")
    assert [retry_delay(_POLICY, error, tries, 0.9) for tries in (1, 2, 3, 4)] == [0.0, 0.0, 0.0, None]


@pytest.mark.parametrize(
    ("retry_after", "delay"), [(0.2, 1.0), (7.0, 7.0), (600.0, 600.0), (3600.0, None), (None, 1.0)]
)
def test_retry_after_is_a_floor_and_too_long_a_wait_is_none(retry_after: float | None, delay: float | None) -> None:
    assert retry_delay(_POLICY, _limited(retry_after), 1, 0.0) == delay
    error = ProviderError("down", provider="p", model="m", retry_after=retry_after)
    assert retry_delay(_POLICY, error, 1, 0.0) == delay


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 2.0), (0.5, 1.5), (0.99, 1.01)])
def test_steps_that_failed_together_are_not_tried_again_together(chance: float, delay: float) -> None:
    assert retry_delay(_POLICY, _limited(), 2, chance) == pytest.approx(delay)


@given(
    tries=st.integers(1, 50),
    chance=st.floats(0, 1, exclude_max=True),
    initial=st.floats(0, 3600),
    multiplier=st.floats(1, 100),
    ceiling=st.floats(0, 86_400),
)
def test_jitter_takes_away_at_most_half(
    tries: int, chance: float, initial: float, multiplier: float, ceiling: float
) -> None:
    policy = RetryPolicy(50, initial_delay=initial, multiplier=multiplier, max_delay=ceiling)
    most = retry_delay(policy, _limited(), tries, 0.0)
    delay = retry_delay(policy, _limited(), tries, chance)
    assert most is not None
    assert delay is not None
    assert most / 2 <= delay <= most <= ceiling
