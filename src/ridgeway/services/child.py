"""What a process does right after it was forked: it becomes one of its own, and then what it was asked to be."""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

LIFELINE = "lifeline"
"""The descriptor of this name is a pipe's read end: when the other end is closed, nobody is left to serve."""


def become(request: Mapping[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """Turns this process, just forked, into what the request says; ends with it.

    Args:
        request: ``call`` (``module:function``), ``arguments`` (texts), ``environment`` (the whole of it), ``log`` (a
            file), ``folder`` (the working directory), and ``descriptors``: names of those given. A name in braces among
            the arguments is replaced by its number; a ``lifeline`` that is no argument is watched by a thread, and its
            end is a SIGTERM.
        descriptors: Open files, in the order of their names.
    """
    code = 1
    try:
        names = dict(zip(request["descriptors"], descriptors, strict=True))
        settle(Path(request["log"]), environment=request["environment"], folder=Path(request["folder"]))
        sys.argv = ["ridgeway", request["name"]]
        _log()
        code = _call(request["call"], request["arguments"], names)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - the end of the process: what went wrong goes to its log
        traceback.print_exc()
    leave(code)


def leave(code: int) -> NoReturn:
    """Ends this forked process; what whoever forked it wanted done at its own end is not done here."""
    with contextlib.suppress(Exception):
        logging.shutdown()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def settle(log: Path, *, environment: Mapping[str, str], folder: Path) -> None:
    """A session, signals, output, environment, folder and randomness of its own, after a fork.

    Args:
        log: The file that takes what is written to standard output and error.
        environment: All of it.
        folder: The working directory.
    """
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    _redirect(log)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # forks would all draw the same numbers
    gc.enable()


def _log() -> None:
    """What Ridgeway logs goes to standard error; libraries that configure logging when they are imported lose."""
    logging.basicConfig(format="%(asctime)s %(levelname)-7s %(message)s", level=logging.WARNING, force=True)
    logging.getLogger("ridgeway").setLevel(logging.INFO)


def _redirect(log: Path) -> None:
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


def _call(call: str, arguments: Sequence[str], descriptors: Mapping[str, int]) -> int:
    placeholders = {f"{{{name}}}": str(number) for name, number in descriptors.items()}
    if LIFELINE in descriptors and f"{{{LIFELINE}}}" not in arguments:
        threading.Thread(target=_end_with, args=(descriptors[LIFELINE],), daemon=True).start()
    module, _, function = call.partition(":")
    result = getattr(importlib.import_module(module), function)(*(placeholders.get(one, one) for one in arguments))
    return result if isinstance(result, int) else 0


def _end_with(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)
