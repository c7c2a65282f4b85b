"""The tier `full`: CPython, compiled to WebAssembly: the whole language and its library, and no system to call.

Each job gets a new instance: memory that nobody has used before, no files, no environment, no sockets.
"""

from __future__ import annotations

import json
import platform
import threading
from pathlib import Path
from typing import Any, Final

from wasmtime import Config, Engine, ExitTrap, Linker, Module, Store, Trap, TrapCode, WasiConfig, WasmtimeError

from flowyard_sandbox.jobs import CodeAnswer, CodeJob, Log, checked_result, failure

_DRIVER: Final = Path(__file__).with_name("driver.py.txt")
_ENTRY: Final = "_start"
_STACK_BYTES: Final = 1 << 20
_SLACK_BYTES: Final = 64 * 1024
"""Of an answer beside its result."""
_MOST_DIGITS: Final = 9
_BYTES_PER_CHARACTER: Final = 4


def engine(*, any_processor: bool = False) -> Engine:
    """What is compiled for one of these can be loaded by all that are made here. `any_processor`: by those on other
    machines, too; else it uses all that this machine's processor can do.
    """
    config = Config()
    if any_processor:
        config.target = f"{platform.machine()}-unknown-linux-gnu"
    config.epoch_interruption = True
    config.max_wasm_stack = _STACK_BYTES
    return Engine(config)


class FullTier:
    """`compiled`: made by `python_wasm.py`. Raises WasmtimeError if it is of another version or machine."""

    def __init__(self, compiled: Path) -> None:
        self._engine = engine()
        self._module = Module.deserialize_file(self._engine, str(compiled))
        self._linker = Linker(self._engine)
        self._linker.define_wasi()
        self._driver = _DRIVER.read_text("utf-8")
        warm = CodeJob(code="result = 1", inputs="{}", timeout=20.0, memory=1 << 27, log=0, result=10)
        if (answer := self.run(warm)).ending != "done":
            raise RuntimeError(f"Python in WebAssembly doesn't work: {answer}")

    def run(self, job: CodeJob) -> CodeAnswer:
        try:
            payload = ascii((job.code, json.loads(job.inputs)))
        except RecursionError:
            return failure("the inputs can't be used: they have too many levels")
        log, out = _Output(job.log * _BYTES_PER_CHARACTER), _Output(job.result + _SLACK_BYTES)
        store = Store(self._engine)
        store.set_epoch_deadline(1)
        store.set_limits(memory_size=job.memory)
        wasi = WasiConfig()
        wasi.argv = ["python", "-I", "-S", "-B", "-c", self._driver, payload]
        wasi.stdout_custom, wasi.stderr_custom = log.write, out.write
        store.set_wasi(wasi)
        timer = threading.Timer(job.timeout, self._engine.increment_epoch)
        timer.daemon = True
        timer.start()
        try:
            ending = self._ending(store)
        finally:
            timer.cancel()
            store.close()
        printed = Log(job.log)
        printed.write(log.text)
        printed.cut += log.cut
        return (ending or _answer(out, job)).with_log(printed)

    def _ending(self, store: Store) -> CodeAnswer | None:
        """None: it has ended by itself."""
        try:
            start: Any = self._linker.instantiate(store, self._module).exports(store)[_ENTRY]
            start(store)
        except ExitTrap:
            return None
        except Trap as trap:
            if trap.trap_code == TrapCode.INTERRUPT:
                return CodeAnswer("timeout")
            return failure(f"the interpreter has crashed: {trap.message.splitlines()[0]}")
        except WasmtimeError as error:
            return failure(f"the interpreter has failed: {str(error).splitlines()[0]}")
        return None


class _Output:
    """Keeps the first `most` bytes of what the guest writes, and counts the rest."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._kept = bytearray()
        self.cut = 0

    def write(self, data: bytes) -> int:
        kept = data[: self._left]
        self._kept += kept
        self._left -= len(kept)
        self.cut += len(data) - len(kept)
        return len(data)

    @property
    def text(self) -> str:
        return self._kept.decode("utf-8", "replace")


def _answer(out: _Output, job: CodeJob) -> CodeAnswer:
    """What `driver.py.txt` has written last. The code can write there, too, so it may be anything."""
    if out.cut:
        return CodeAnswer("too_large", error=f"the result has more than {job.result:,} bytes as JSON")
    ending, _, rest = out.text.rpartition("\n")[2].partition(" ")
    number, _, text = rest.partition(" ")
    line = int(number) if number.isdecimal() and len(number) < _MOST_DIGITS else 0
    match ending:
        case "done":
            return checked_result(text, job.result)
        case "memory":
            return CodeAnswer("memory", line=line or None)
        case "failed":
            return failure(_text(text), line or None)
        case _:
            return failure("the code has ended the interpreter")


def _text(text: str) -> str:
    try:
        return str(json.loads(text))
    except (ValueError, RecursionError):
        return "the code has failed"
