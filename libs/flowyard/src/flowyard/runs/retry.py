"""Whether a failed step is retried, and when."""

from __future__ import annotations

from typing import Final

from flowyard.errors.steps import InvalidOutput, ModelError, StepError
from flowyard.language.nodes import RetryPolicy

LONGEST_WAIT: Final = 600.0
"""Seconds. If a provider's Retry-After is longer, the step isn't retried."""


def retry_delay(policy: RetryPolicy, error: StepError, tries: int, chance: float) -> float | None:
    """Seconds until the next try; None: the step has failed.

    `tries`: how many tries there were; `chance`: a random number in [0, 1). The delay grows exponentially and is
    shortened by up to half, so that many steps that failed together aren't retried together. It is at least the
    provider's Retry-After. An invalid reply is retried at once: waiting wouldn't make it better.
    """
    if tries > policy.max_retries or error.code not in policy.errors:
        return None
    if isinstance(error, InvalidOutput):
        return 0.0
    backoff = min(policy.initial_delay * policy.multiplier ** min(tries - 1, 60), policy.max_delay)
    delay = backoff * (1 - chance / 2)
    retry_after = error.retry_after if isinstance(error, ModelError) and error.retry_after is not None else 0.0
    return max(delay, retry_after) if retry_after <= LONGEST_WAIT else None
