"""The tier `fast`: Monty, an interpreter of most of Python that is written in Rust and can do nothing but compute."""

from __future__ import annotations

import json
import math
import sysconfig
from pathlib import Path
from typing import Final

from pydantic_monty import (
    Monty,
    MontyConversionError,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySession,
    MontySyntaxError,
)

from flowyard_sandbox.jobs import CodeAnswer, CodeJob, Log, checked_result, failure

_LAUNCHER: Final = "flowyard-sandbox-monty"
_RECURSION: Final = 1000
_GRACE_S: Final = 0.5
_ENCODE: Final = "import json\njson.dumps(result)"
_OF_THE_CODE: Final = "-0>"
"""The end of the file name in the frames of the code; what encodes the result has another."""
_NO_RESULT: Final = "name 'result' is not defined"


class FastTier:
    """One process of Monty, which gets a new session for each job. It is started at once."""

    def __init__(self) -> None:
        launcher = Path(sysconfig.get_path("scripts")) / _LAUNCHER
        self._monty = Monty(
            binary_path=launcher,
            min_processes=1,
            max_processes=1,
            checkout_timeout=10.0,
            feed_duration_limit_grace=_GRACE_S,
        )
        self._monty.__enter__()
        with self._monty.checkout() as session:
            session.feed_run("1")

    def run(self, job: CodeJob) -> CodeAnswer:
        """Raises MontyError if the process of Monty has died."""
        log = Log(job.log)
        session = self._monty.checkout(
            limits={
                "max_feed_duration_secs": job.timeout,
                "max_memory": job.memory,
                "max_recursion_depth": _RECURSION,
                "max_total_sleep_secs": job.timeout,
            },
            os_policy={"sleep": "system", "sleep_system_max": math.inf},
        )
        with session:
            answer = self._answer(session, job, log)
        return answer.with_log(log)

    @staticmethod
    def _answer(session: MontySession, job: CodeJob, log: Log) -> CodeAnswer:
        try:
            given = json.loads(job.inputs)
            session.feed_run(
                job.code, inputs={**given, "inputs": given}, print_callback=lambda _stream, text: log.write(text)
            )
            text = session.feed_run(_ENCODE, print_callback=lambda _stream, _text: None)
        except MontyCrashedError as error:
            if error.timed_out:
                return CodeAnswer("timeout", is_spent=True)
            raise
        except (MontyConversionError, RecursionError) as error:
            return failure(f"the inputs can't be used: {error}")
        except MontyError as error:
            return _failed(error)
        return checked_result(text, job.result) if isinstance(text, str) else failure("json.dumps was replaced")


def _failed(error: MontyError) -> CodeAnswer:
    if not isinstance(error, MontyRuntimeError | MontySyntaxError):
        return failure(str(error))
    cause = error.exception()
    line = next((frame.line for frame in reversed(error.traceback()) if frame.filename.endswith(_OF_THE_CODE)), None)
    match cause:
        case TimeoutError():
            return CodeAnswer("timeout", line=line, is_spent=True)
        case MemoryError():
            return CodeAnswer("memory", line=line, is_spent=True)
        case NameError() if str(cause) == _NO_RESULT and line is None:
            return failure("the code doesn't assign 'result'")
    return failure(error.display("type-msg"), line)
