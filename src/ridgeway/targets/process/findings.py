"""The preflight of this machine, in the order in which things are needed."""

from __future__ import annotations

import importlib.util
import shutil
import ssl
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ridgeway.artifacts import Deployment, Finding
from ridgeway.errors import RidgewayError
from ridgeway.targets.addresses import listening_address
from ridgeway.targets.process import machine
from ridgeway.targets.process.folder import Folder

LEAST_FREE_MIB = 50
"""Five copies of a small package, and a log."""
_PACKAGES = ("circus", "ridgeway_server", "uvloop", "httptools", "orjson", "numpy")


def findings(folder: Folder, root: Path, deployment: Deployment | None) -> Iterator[Finding]:
    """All of them, each timed; what depends on a deployment is left out where there is none."""
    checks: list[Callable[[], Finding]] = [_packages, lambda: _disk(root)]
    if deployment is not None:
        checks += [lambda: _port(folder, deployment), lambda: _memory(deployment)]
        if deployment.access == "keys":
            checks.append(lambda: _keys(folder, deployment))
        if deployment.certificate:
            checks.append(lambda: _certificate(root, deployment))
    for check in checks:
        started = time.monotonic()
        found = check()
        yield Finding(found.check, found.outcome, found.sentence, found.next_step, round(time.monotonic() - started, 4))


def _packages() -> Finding:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        sentence = f"not installed: {', '.join(missing)}"
        return Finding("Python packages", "fail", sentence, "pip install --force-reinstall ridgeway")
    return Finding("Python packages", "pass", "the server's packages are installed")


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free // 2**20
    if free < LEAST_FREE_MIB:
        sentence = f"{free} MiB are free, {LEAST_FREE_MIB} are needed"
        return Finding("disk", "fail", sentence, "make room on the project's disk")
    return Finding("disk", "pass", f"{free} MiB are free")


def _port(folder: Folder, deployment: Deployment) -> Finding:
    setting = f"set targets.{deployment.target}.address in the settings"
    try:
        address = listening_address(deployment)
    except RidgewayError as error:
        return Finding("port", "fail", error.summary, setting)
    wanted = folder.wanted()
    ours = folder.daemon() is not None and wanted is not None
    if ours and wanted is not None and listening_address(wanted.deployment).place == address.place:
        return Finding("port", "pass", f"{address.place} is this endpoint's own")
    try:
        machine.listen(address.host, address.port).close()
    except OSError as error:
        owner = machine.who_listens(address.port)
        sentence = f"{address.place}: {f'{owner} listens there' if owner else error.strerror or error}"
        return Finding("port", "fail", sentence, f"end that program, or {setting}")
    return Finding("port", "pass", f"{address.place} is free")


def _memory(deployment: Deployment) -> Finding:
    free, asked = machine.free_memory_mib(), deployment.instance.memory_mib
    if free is None:
        return Finding("memory", "warn", "this system does not say how much memory is free")
    sentence = f"{free} MiB are free, {deployment.instance.name} takes {asked}"
    if free < asked:
        return Finding("memory", "warn", sentence, "choose a smaller instance type, or end other programs")
    return Finding("memory", "pass", sentence)


def _keys(folder: Folder, deployment: Deployment) -> Finding:
    if folder.keys() is None:
        return Finding("keys", "pass", "made at the first deployment")
    open_to_others = [file.name for file in folder.keys_folder.iterdir() if stat.S_IMODE(file.stat().st_mode) & 0o077]
    if open_to_others:
        sentence = f"others on this machine may read {', '.join(open_to_others)} in {folder.keys_folder}"
        command = f"chmod 600 {folder.keys_folder}/*     then     ridgeway keys {deployment.target} --rotate primary"
        return Finding("keys", "fail", sentence, command)
    return Finding("keys", "pass", "readable by their owner only")


def _certificate(root: Path, deployment: Deployment) -> Finding:
    files = root / deployment.certificate, root / deployment.certificate_key
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files)
    except (OSError, ssl.SSLError) as error:
        sentence = f"{deployment.certificate} with {deployment.certificate_key}: {error}"
        return Finding("certificate", "fail", sentence, f"set targets.{deployment.target}.tls in the settings")
    return Finding("certificate", "pass", f"{deployment.certificate} fits its key")
