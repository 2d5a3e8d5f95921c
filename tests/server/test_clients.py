"""Real clients of other projects against a running server, each in an environment of its own: they pin old libraries.

The environments are made once by uv, below the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ridgeway_server.embedded import running
from ridgeway_server.settings import Settings
from tests.server.toys import Client, PackageMaker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CLIENTS = Path(__file__).parent / "clients"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ridgeway-tests"


def environment(*packages: str) -> Path:
    """The interpreter of an environment with these packages."""
    uv = shutil.which("uv") or str(Path(".tools/uv").resolve())
    folder = CACHE / hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    python = folder / "bin" / "python"
    if not (folder / "whole").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([uv, "venv", "-q", "--python", "3.11", str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "-p", str(python), *packages], check=True)
        (folder / "whole").touch()
    return python


def run(python: Path, script: str, *arguments: str) -> object:
    """What the script prints last, as JSON."""
    ended = subprocess.run(
        [python, CLIENTS / script, *arguments], capture_output=True, text=True, timeout=900, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Client]:
    maker = PackageMaker(tmp_path_factory.mktemp("clients"))
    maker.linear()
    maker.logistic()
    maker.mixed()
    settings = Settings(
        models=str(maker.root), port=0, default_model="toy", repository_control=True, drain_seconds=0, access_log=False
    )
    with running(settings) as one:
        yield Client(one)


def test_tritonclient(server) -> None:
    python = environment("tritonclient[http]", "numpy<3")
    found = run(python, "triton_client.py", f"{server.server.host}:{server.server.port}")
    assert found == {
        "metadata": {"name": "input", "datatype": "FP64", "shape": [-1, 3]},
        "index": ["mixed", "sort", "toy"],
        "rows True": [16.0, 10.0],
        "rows False": [16.0, 10.0],
        "id": "r1",
        "late": [16.0, 10.0],
        "mixed": [112.0, 2.0],
        "label": ["no"],
        "probabilities": pytest.approx(1.0),
        "unloaded": False,
        "loaded": True,
        "error": found["error"],
    }
    assert "no model 'none'" in found["error"]


def test_kserve(server) -> None:
    found = run(environment("kserve"), "kserve_client.py", server.server.address)
    assert found == {"live": True, "ready": True, "model": True, "rows True": [16.0, 10.0], "rows False": [16.0, 10.0]}


def test_mlflow(server) -> None:
    python = environment("mlflow>=3.17,<3.18")
    found = run(python, "mlflow_client.py", str(server.server.port), server.server.address)
    assert found == {
        "/ping": 200,
        "/version": 200,
        "frame": [16.0, 10.0],
        "example frame": {"predictions": [16.0, 10.0]},
        "example array": {"predictions": [16.0]},
        "example columns": {"predictions": [16.0]},
        "csv": {"predictions": [16.0, 10.0]},
    }


def test_schemathesis(server) -> None:
    """Requests made from the served document, sound and unsound: no server error, and answers as the document says."""
    python = environment("schemathesis>=4,<5")
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    ended = subprocess.run(
        [python.with_name("schemathesis"), "run", f"{server.server.address}/openapi.json", "--checks", checks,
         "--max-examples", "300", "--mode", "all", "--suppress-health-check", "all"],
        capture_output=True, text=True, timeout=1500, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert server.alive()
