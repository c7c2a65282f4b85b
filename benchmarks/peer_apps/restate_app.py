"""The chain as a Restate service. Hypercorn serves it, as Restate's documentation says, with hypercorn.toml."""

from __future__ import annotations

import restate
from chain import ask, plan, polish, write

chain = restate.Service("chain")


@chain.handler()
async def run(context: restate.Context, topic: str) -> str:
    planned = await context.run_typed("think", ask, prompt=plan(topic))
    draft = await context.run_typed("write", ask, prompt=write(planned))
    return await context.run_typed("polish", ask, prompt=polish(draft))


app = restate.app(services=[chain])
