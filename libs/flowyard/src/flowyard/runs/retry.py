"""Whether a failed step is tried again, and after how long."""

from __future__ import annotations

from typing import Final

from flowyard.errors.steps import InvalidOutput, ModelError, StepError
from flowyard.language.nodes import RetryPolicy

LONGEST_WAIT: Final = 600.0
"""Seconds: no step waits longer for a provider that says when to come back."""


def retry_delay(policy: RetryPolicy, error: StepError, tries: int, chance: float) -> float | None:
    """Seconds until the next try, or None if there is none.

    `tries`: how many there were; `chance`: a random number in [0, 1). The delay grows exponentially and is shortened by
    up to half, so that many steps that failed together don't come back together. A provider's Retry-After is a floor.
    Where it is longer than LONGEST_WAIT, the step fails now rather than then.
    An invalid reply goes back at once: waiting wouldn't make it better.
    """
    if tries > policy.max_retries or error.code not in policy.errors:
        return None
    if isinstance(error, InvalidOutput):
        return 0.0
    backoff = min(policy.initial_delay * policy.multiplier ** min(tries - 1, 60), policy.max_delay)
    delay = backoff * (1 - chance / 2)
    asked = error.retry_after if isinstance(error, ModelError) and error.retry_after is not None else 0.0
    return max(delay, asked) if asked <= LONGEST_WAIT else None
