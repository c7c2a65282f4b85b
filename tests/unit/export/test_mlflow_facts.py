from __future__ import annotations

from flowyard.export.finished_run import FinishedRun
from flowyard.export.mlflow_facts import MAX_PARAM, metrics_of, params_of, tags_of
from flowyard.export.spans import spans_of
from flowyard.runs.events import RunFinished, StepId, StepStarted
from support.finished_runs import RUN, called, finished, finished_run

ONE, TWO = StepId("write", 1, 0), StepId("write", 1, 1)
READ = StepId("read", 1)
ENDED = RunFinished("succeeded", 3.0, {})


def numbers(run: FinishedRun) -> dict[str, float]:
    return metrics_of(run, spans_of(run))


def test_steps_at_the_same_time_count_once_for_their_node() -> None:
    run = finished_run(
        (1, StepStarted(ONE)), (2, StepStarted(TWO)), (4, finished(ONE)), (5, finished(TWO)),
        (7, StepStarted(StepId("write", 2))), (8, finished(StepId("write", 2))), (10.5, ENDED),
    )  # fmt: skip
    facts = numbers(run)
    assert (facts["node_write_duration_ms"], facts["duration_ms"]) == (5000, 10_000)
    assert facts["node_write_cost_usd"] == 0


def test_costs_are_summed_by_provider_and_node_and_what_has_an_unknown_part_is_left_out() -> None:
    run = finished_run(
        (1, StepStarted(ONE)), (1, StepStarted(READ)),
        (2, called(ONE, cost="0.1")), (2, called(ONE, cost="0.2")), (2, called(READ, cost=None, provider="vllm")),
        (3, finished(ONE)), (3, finished(READ)), (4, ENDED),
    )  # fmt: skip
    facts = numbers(run)
    assert (facts["node_write_cost_usd"], facts["provider_openai_cost_usd"]) == (0.3, 0.3)
    assert not {"node_read_cost_usd", "provider_vllm_cost_usd", "total_cost_usd"} & facts.keys()
    assert tags_of(run)["flowyard.cost"] == "unknown"


def test_a_run_without_calls_has_cost_nothing() -> None:
    facts = numbers(finished_run((1, ENDED)))
    assert (facts["total_cost_usd"], facts["model_calls"]) == (0, 0)


def test_names_and_values_keep_to_what_mlflow_takes() -> None:
    step = StepId("n" * 400, 1)
    run = finished_run(
        (1, StepStarted(step)), (2, called(step, provider="my/own(1)")), (3, finished(step)), (4, ENDED),
        inputs={"text": "x" * 9000, "data": {"a": ["y" * 9000]}, "short": 7},
    )  # fmt: skip
    params = params_of(run)
    assert max(len(value) for value in params.values()) == MAX_PARAM
    assert (params["input.short"], params["revision"], params["digest"]) == ("7", "3", "d1ge57")
    assert "provider_my_own_1__cost_usd" in numbers(run)
    assert max(len(name) for name in numbers(run)) == 250


def test_tags_find_the_run_and_its_trace() -> None:
    tags = tags_of(finished_run((1, StepStarted(ONE)), (2, called(ONE)), (3, ENDED)))
    assert (tags["flowyard.run_id"], tags["flowyard.trace_id"]) == (str(RUN), RUN.hex)
    assert (tags["flowyard.models_called"], tags["flowyard.cost"]) == ("openai/gpt", "known")
    assert "" not in tags.values()
    assert "flowyard.error" not in tags
