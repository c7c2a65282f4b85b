"""A key that an executor doesn't have: its runs fail at once, and say why."""

from __future__ import annotations

from flowyard.secrets.sealing import SecretBox, new_key, read_keys
from support.executors import open_yard

LOGIN = """\
flow: {name: login}
state: {fields: {token: {type: str, required: true, secret: true}, said: str}}
nodes:
  - {id: free, prompt: 'Hello', outputs: [said]}
  - {id: ask, prompt: 'Use {token}', outputs: [said]}
config: {llm: MODEL}
"""


async def test_a_run_fails_before_its_first_call_where_its_secrets_cannot_be_opened(
    database_url: str, nats_url: str
) -> None:
    key, other = new_key(), new_key()
    token = SecretBox(read_keys(key)).seal("s3cret", workflow="login", name="token")
    async with open_yard(database_url, nats_url) as yard:
        await yard.apply(LOGIN)
        keyless = await yard.executor("one")
        first = await yard.ended(await yard.submit("login", token=token))
        await keyless.kill()
        wrong = await yard.executor("one", SECRET_KEY=other)
        run = await yard.ended(await yard.submit("login", token=token))
        for ended, code in ((first, "secrets_not_configured"), (run, "unreadable_secret")):
            assert ended.error is not None
            assert (ended.status, ended.error.code) == ("failed", code)
            assert "FLOWYARD_SECRET_KEY" in ended.error.message
        assert yard.model.requests == []
        await wrong.kill()
        await yard.executor("one", SECRET_KEY=f"{other},{key}")
        await yard.moves.retry(run.id)
        assert (await yard.ended(run.id)).status == "succeeded"
        assert set(yard.prompts) == {"Hello", "Use s3cret"}
