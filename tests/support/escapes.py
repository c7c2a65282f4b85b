"""Public escapes from sandboxes of other products, in our words, and code that looks for what a sandbox mustn't show.

`SECRET` is the path of a file that nobody may read, `PORT` one of this machine.
"""

from __future__ import annotations

from typing import Final

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
