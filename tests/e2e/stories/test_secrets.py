"""A run is given a secret: the model receives it, and nobody else."""

from __future__ import annotations

from support.stories import LOGIN
from support.visitor import Model, Visitor
from support.wire.behaviour import Text

SECRET = "s3cret-of-somebody"


async def test_only_the_model_receives_a_secret(visitor: Visitor, model: Model) -> None:
    await visitor.apply("login", LOGIN)
    model.respond = lambda prompt: Text(f"{prompt}, done")
    run = await visitor.ended(await visitor.submit("login", user="ann", token=SECRET))
    assert model.prompts == [f"Log ann in with {SECRET}"]
    assert (run["status"], run["outputs"]) == ("succeeded", {"said": "Log ann in with ***, done"})
    assert run["inputs"] == {"user": "ann", "token": "***"}
    assert SECRET not in str(await visitor.events(run["id"]))


async def test_a_fork_uses_the_secret_that_nobody_can_see(visitor: Visitor, model: Model) -> None:
    await visitor.apply("login", LOGIN)
    run = await visitor.ended(await visitor.submit("login", user="ann", token=SECRET))
    fork = await visitor.post(f"/v1/runs/{run['id']}/fork", inputs={**run["inputs"], "user": "bob"})
    assert (await visitor.ended(fork.json()["id"]))["status"] == "succeeded"
    assert model.prompts[-1] == f"Log bob in with {SECRET}"
