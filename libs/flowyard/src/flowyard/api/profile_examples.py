"""Examples of profiles for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

Example: TypeAlias = dict[str, Any]

_ID: Final = "019adf3c-6f2e-7c41-9a53-5d0c8e1b7a20"

RUN: Final[Example] = {
    "run_id": _ID,
    "workflow": "article",
    "status": "running",
    "created_at": "2026-11-23T03:50:45.120000+00:00",
    "finished_at": None,
    "wall_s": 6.412,
    "spent_s": {
        "queued": 0.004,
        "claim": 0.006,
        "model": 6.29,
        "tool": 0.0,
        "code": 0.104,
        "commit": 0.008,
        "waiting": 0.0,
    },
    "at_work_s": 6.408,
    "nodes": [
        {"node": "write", "steps": 3, "retries": 1, "busy_s": 5.1, "model_s": 5.04, "share": 0.7959},
        {"node": "outline", "steps": 1, "retries": 0, "busy_s": 1.26, "model_s": 1.25, "share": 0.1966},
    ],
    "threshold": 0.5,
    "bottleneck": "write",
}
_WALL: Final[Example] = {"mean_s": 4.1, "p50_s": 3.9, "p95_s": 7.8, "p99_s": 9.2}
_MODEL: Final[Example] = {"mean_s": 3.6, "p50_s": 3.5, "p95_s": 7.1, "p99_s": 8.8}
_LITTLE: Final[Example] = {"mean_s": 0.05, "p50_s": 0.04, "p95_s": 0.2, "p99_s": 0.3}
_NOTHING: Final[Example] = {"mean_s": 0.0, "p50_s": 0.0, "p95_s": 0.0, "p99_s": 0.0}
REPORT: Final[Example] = {
    "workflow": None,
    "since": "2026-11-16T08:00:00+00:00",
    "threshold": 0.5,
    "runs": 200,
    "wall": _WALL,
    "spent": {
        "queued": _LITTLE,
        "claim": _LITTLE,
        "model": _MODEL,
        "tool": _NOTHING,
        "code": _LITTLE,
        "commit": _LITTLE,
        "waiting": _NOTHING,
    },
    "nodes": [
        {
            "workflow": "article",
            "node": "write",
            "runs": 200,
            "retries": 3,
            "busy": _MODEL,
            "model": _MODEL,
            "share": 0.8912,
            "bottleneck": True,
        }
    ],
    "slowest": [
        {
            "run_id": _ID,
            "workflow": "article",
            "status": "succeeded",
            "created_at": "2026-11-23T03:50:45.120000+00:00",
            "wall_s": 11.3,
            "bottleneck": "write",
        }
    ],
}
