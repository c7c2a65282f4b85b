"""Public escapes from sandboxes of other products, in our words, on both tiers: none gets anything of this machine."""

from __future__ import annotations

import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from flowyard_sandbox.jobs import CodeAnswer
from support.sandboxes import Workers, job

_CANARY: Final = "canary-5f0c1b"

ESCAPES: Final = {
    "CVE-2025-68668: the bridge of Pyodide": """
got = []
try:
    import _pyodide
    got.append(str(dir(_pyodide)))
except Exception as error:
    got.append(repr(error))
try:
    import js
    got.append(str(dir(js)))
except Exception as error:
    got.append(repr(error))
try:
    import ctypes
    got.append(str(ctypes.CDLL(None).system(b"id")))
except Exception as error:
    got.append(repr(error))
result = got
""",
    "CVE-2026-0863: what a failed format hands out": """
class Held:
    pass
got = []
try:
    '{0.__class__.__x}'.format(Held())
except Exception as error:
    for name in ("obj", "name", "__context__", "__traceback__"):
        held = getattr(error, name, None)
        got.append(str(held))
        got.append(str(getattr(getattr(held, "tb_frame", None), "f_globals", None)))
result = got
""",
    "CVE-2026-49444: what filters of a syntax tree overlook": """
got = []
try:
    import subprocess
    got.append(str(subprocess.run(["cat", SECRET], capture_output=True).stdout))
except Exception as error:
    got.append(repr(error))
class Held:
    read = [y := open for _ in (1,)] if False else None
    try:
        out = open(SECRET).read()
    except Exception as error:
        out = repr(error)
got.append(str(getattr(Held, "out", None)))
match Held():
    case object(__class__=c):
        got.append(str(c))
result = got
""",
    "CVE-2026-49444: a star import": "from os import *\nresult = str(environ) + str(popen('cat ' + SECRET).read())",
    "CVE-2025-68613: chains of constructors": """
got = []
for chain in ("__class__.__base__.__subclasses__", "__class__.__mro__", "__init__.__globals__", "__reduce_ex__"):
    found = ()
    try:
        for name in chain.split("."):
            found = getattr(found, name)
        found = found() if callable(found) else found
        for each in list(found)[:400]:
            loader = getattr(each, "__init__", None)
            got.append(str(getattr(loader, "__globals__", {}).get("sys", "")))
    except Exception as error:
        got.append(repr(error)[:200])
result = [each for each in got if each][:200]
""",
    "CVE-2026-27498: files that something else executes": """
got = []
for path in (SECRET + ".pth", "/tmp/sitecustomize.py", "sitecustomize.py", ".git/hooks/post-checkout", "/etc/cron.d/x"):
    try:
        with open(path, "w") as file:
            file.write("import os")
        got.append("written " + path)
    except Exception as error:
        got.append(repr(error)[:200])
result = got
""",
    "CVE-2025-3248: default arguments": """
def outer(text=open):
    try:
        return text(SECRET).read()
    except Exception as error:
        return repr(error)
result = outer()
""",
    "CVE-2025-3248: decorators": "def d(f):\n    return open(SECRET).read()\n@d\ndef f():\n    pass\nresult = f",
    "CVE-2026-5752: objects of the host by their names": """
got = []
for name in ("process", "globalThis", "require", "__loader__", "__spec__", "__builtins__", "__file__"):
    try:
        got.append(str(eval(name))[:500])
    except BaseException as error:
        got.append(repr(error)[:200])
result = got
""",
    "CVE-2025-59528: text that is evaluated": """
got = []
for text in ("open(SECRET).read()", "__import__('os').popen('cat ' + SECRET).read()", "__import__('os').listdir('/')"):
    try:
        got.append(str(eval(text, {"SECRET": SECRET})))
    except BaseException as error:
        got.append(repr(error)[:200])
result = got
""",
    "CVE-2023-37271: frames of generators": """
got = []
try:
    made = (x for x in [1])
    frame = made.gi_frame
    while frame is not None:
        got.append(str(frame.f_globals)[:2000])
        frame = frame.f_back
except Exception as error:
    got.append(repr(error)[:200])
result = got
""",
    "CVE-2023-41039: formatters": """
got = []
class Held:
    pass
for text in ("{0.__class__.__init__.__globals__}", "{0.__class__.__base__}", "{0!r:{1}}"):
    try:
        got.append(text.format(Held(), 10)[:2000])
    except Exception as error:
        got.append(repr(error)[:200])
try:
    import string
    got.append(str(string.Formatter().get_field("a.__class__.__mro__", (), {"a": 1})))
except Exception as error:
    got.append(repr(error)[:200])
result = got
""",
    "CVE-2024-47532: the object of an AttributeError": """
got = []
try:
    print.missing
except Exception as error:
    got.append(str(getattr(error, "obj", None)))
    got.append(str(getattr(getattr(error, "obj", None), "__self__", None)))
result = got
""",
    "CVE-2025-22153: groups of exceptions": """
got = []
try:
    raise ExceptionGroup("x", [ValueError(1)])
except* ValueError as error:
    got.append(str(type(error)))
result = got
""",
    "CVE-2025-5120: modules of modules": """
got = []
try:
    import random
    got.append(str(random._os.environ) + str(random._os.popen("cat " + SECRET).read()))
except Exception as error:
    got.append(repr(error)[:200])
try:
    import json
    got.append(str(json.codecs.open(SECRET).read()))
except Exception as error:
    got.append(repr(error)[:200])
try:
    import re
    got.append(str(re._compiler.sys.modules)[:3000])
except Exception as error:
    got.append(repr(error)[:200])
result = got
""",
    "CVE-2025-14931: objects that unpickle": """
class Held:
    def __reduce__(self):
        return (print, ("x",))
result = Held()
""",
}

FILES: Final = """
got = []
def text(path):
    return open(path).read()
def data(path):
    return open(path, "rb").read()
def names(path):
    import os
    return os.listdir(path)
def text_of_path(path):
    from pathlib import Path
    return Path(path).read_text()
def link(path):
    import os
    return os.readlink(path)
for path in (SECRET, "/etc/passwd", "/etc/hostname", "/proc/self/environ", "/proc/1/cmdline", "/proc/self/mem",
             "/proc/self/maps", "/", "/dev/mem", "/proc/self/fd/0", "/proc/self/fd/3", "/proc/self/fd/4",
             "//etc//passwd", "../../../../etc/passwd", "/run/secrets",
             "/usr/local/lib/python3.12/../../../../../etc/passwd"):
    for read in (text, data, names, text_of_path, link):
        try:
            got.append("READ " + path + " " + str(read(path))[:2000])
        except BaseException:
            pass
result = got
"""


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that everybody may read, with text that must not be in any answer. The environment has it, too."""
    path = tmp_path_factory.mktemp("host") / "secret.txt"
    path.write_text(_CANARY)
    path.chmod(0o644)
    return path


@pytest.fixture(autouse=True)
def _variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWYARD_SECRET_KEY", _CANARY)


def _holds_nothing_of_the_host(answer: CodeAnswer) -> None:
    shown = f"{answer.result} {answer.log} {answer.error}"
    for of_host in (_CANARY, "root:x:0", sys.prefix, "flowyard_sandbox", "HOSTNAME"):
        assert of_host not in shown


@pytest.mark.parametrize("code", ESCAPES.values(), ids=ESCAPES.keys())
def test_no_public_escape_gets_anything_of_the_host(workers: Workers, secret: Path, code: str) -> None:
    answer = workers.run(job(code, {"SECRET": str(secret)}))
    assert answer.ending in {"done", "failed"}
    _holds_nothing_of_the_host(answer)
    assert not secret.with_name("secret.txt.pth").exists()
    assert workers.run(job("result = 1")).result == "1"


def test_no_file_can_be_read(workers: Workers, secret: Path) -> None:
    answer = workers.run(job(FILES, {"SECRET": str(secret)}))
    assert answer.result == "[]"


def test_no_variable_of_the_environment_is_there(workers: Workers) -> None:
    answer = workers.run(job("import os\nresult = dict(os.environ)"))
    assert answer.result == "{}" or answer.ending == "failed"


class _Counting(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.arrived.append(self.path)  # type: ignore[attr-defined]


@pytest.fixture
def listener() -> Iterator[tuple[socket.socket, int, list[str]]]:
    arrived: list[str] = []
    with (
        http.server.HTTPServer(("127.0.0.1", 0), _Counting) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
    ):
        server.arrived = arrived  # type: ignore[attr-defined]
        datagrams.bind(("127.0.0.1", server.server_port))
        datagrams.setblocking(False)  # noqa: FBT003
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield datagrams, server.server_port, arrived
        server.shutdown()
        thread.join()


NETWORK: Final = """
got = []
for kind in (1, 2):
    try:
        import socket
        s = socket.socket(2, kind)
        if kind == 2:
            s.sendto(b"x", ("127.0.0.1", PORT))
        else:
            s.connect(("127.0.0.1", PORT))
        got.append("SENT")
    except BaseException as error:
        got.append(repr(error)[:100])
try:
    import urllib.request
    urllib.request.urlopen("http://127.0.0.1:" + str(PORT) + "/x", timeout=2)
    got.append("SENT")
except BaseException as error:
    got.append(repr(error)[:100])
result = got
"""


def test_no_packet_leaves(workers: Workers, listener: tuple[socket.socket, int, list[str]]) -> None:
    datagrams, port, arrived = listener
    answer = workers.run(job(NETWORK, {"PORT": port}))
    assert answer.ending == "done"
    assert "SENT" not in answer.result
    assert arrived == []
    with pytest.raises(BlockingIOError):
        datagrams.recv(10)


PROCESSES: Final = """
got = []
for name, arguments in (("fork", ()), ("system", ("true",)), ("popen", ("true",)), ("kill", (1, 0)),
                        ("execv", ("/bin/true", ["true"])), ("posix_spawn", ("/bin/true", ["true"], {}))):
    try:
        import os
        getattr(os, name)(*arguments)
        got.append(name)
    except BaseException:
        pass
try:
    import threading
    threading.Thread(target=print).start()
    got.append("thread")
except BaseException:
    pass
result = got
"""


def test_no_process_is_visible_and_none_can_be_started(workers: Workers) -> None:
    assert workers.run(job(PROCESSES)).result == "[]"


KEEPS: Final = """
import json, re, math
for module in (json, re, math):
    for name in ("dumps", "left", "compile", "sqrt"):
        try:
            setattr(module, name, "left behind")
        except BaseException:
            pass
try:
    import builtins
    builtins.left = "left behind"
    builtins.len = lambda x: "left behind"
except BaseException:
    pass
try:
    open("/tmp/left", "w").write("left behind")
except BaseException:
    pass
left = "left behind"
result = 1
"""
LOOKS: Final = """
import json, re, math
got = [str(len([])), str(math.sqrt), str(re.compile)]
def of_builtins():
    import builtins
    return builtins.left
for read in (lambda: left, lambda: json.left, of_builtins, lambda: open("/tmp/left").read()):
    try:
        got.append(str(read()))
    except BaseException:
        pass
result = got
"""


def test_nothing_is_kept_between_two_steps(workers: Workers) -> None:
    workers.run(job(KEEPS))
    after = workers.run(job(LOOKS))
    assert after.ending == "done"
    assert "left behind" not in after.result
