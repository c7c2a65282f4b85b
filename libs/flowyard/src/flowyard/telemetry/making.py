"""How metrics are made: their prefix, their registry, and a limit on the names that users choose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

MAX_NAMES: Final = 200
OTHER: Final = "other"
M = TypeVar("M", bound=MetricWrapperBase)


class LabelLimit:
    """Maps a name to itself, but to `other` if there are MAX_NAMES different ones already."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def __call__(self, name: str) -> str:
        if len(self._names) < MAX_NAMES:
            self._names.add(name)
        return name if name in self._names else OTHER


class NamedMetric(Generic[M]):
    """A metric whose first label is a name that users choose, such as a workflow's, with a limit on their number."""

    def __init__(self, metric: M, limit: LabelLimit) -> None:
        self._metric = metric
        self._limit = limit

    def labels(self, name: str, *more: str) -> M:
        return self._metric.labels(self._limit(name), *more)


class MetricFactory:
    """Creates metrics in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"flowyard_{name}", description, labels, registry=self._registry)

    def gauge(self, name: str, description: str, *labels: str) -> Gauge:
        return Gauge(f"flowyard_{name}", description, labels, registry=self._registry)

    def histogram(self, name: str, description: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"flowyard_{name}", description, labels, buckets=buckets, registry=self._registry)
