"""The server's command line: settings in, a running server out. Exit code 2 for settings that do not fit."""

from __future__ import annotations

import gc
import logging
import os
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

# One thread per worker: rows are few and matrices narrow, so more threads only cost memory and wake each other up. It
# must be said before numpy is loaded, and a fork is only sound without other threads.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_name, "1")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; returns its exit code after SIGTERM or SIGINT."""
    from ridgeway_server.errors import SettingError
    from ridgeway_server.settings import read_settings

    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format='{"level":"%(levelname)s","message":"%(message)s"}'
    )
    try:
        settings = read_settings(sys.argv[1:] if arguments is None else arguments)
        # Loaded before the workers are forked: they share this memory, and a replacement is ready at once.
        import ridgeway_server.worker  # noqa: F401
        from ridgeway_server.access import Keys
        from ridgeway_server.supervisor import Supervisor
        from ridgeway_server.tls import make_context

        if settings.keys_on:
            Keys(Path(settings.keys_dir))
        if settings.tls_certificate:
            make_context(settings.tls_certificate, settings.tls_key)
        supervisor = Supervisor(settings)
    except (SettingError, OSError) as error:
        logging.getLogger("ridgeway_server").error("%s", error)  # noqa: TRY400 - the message is all there is to say
        return 2
    _allow_many_connections(settings.max_connections)
    gc.collect()
    gc.freeze()  # What is loaded now stays: without it the collector would copy shared pages into each worker.
    return supervisor.run()


def _allow_many_connections(count: int) -> None:
    """Raise this process's own limit of open files, as far as it may, so that each connection can have one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200 if hard == resource.RLIM_INFINITY else min(hard, count + 200)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
