from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.actions.conftest import Yard, free_port
from tests.cli.conftest import Command

SERVE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import ridgeway.cli as c; c.main()"


def test_help(ridgeway: Command) -> None:
    code, out, err = ridgeway("serve", "--help")
    assert (code, err) == (0, "")
    assert "--port INTEGER RANGE" in out
    assert "without keys, until Ctrl-C" in " ".join(out.split())


def test_a_plan_writes_nothing(project: Path, ridgeway: Command) -> None:
    before = sorted(project.rglob("*"))
    what = "compile models:/churn/1 if it is not, and serve it on http://127.0.0.1:8123"
    assert ridgeway("serve", "models:/churn/1", "--port", "8123", "--plan") == (0, f"{what}\n", "")
    code, out, err = ridgeway("serve", "models:/churn/1", "--port", "8123", "--plan", "--json")
    assert (code, json.loads(out), err) == (0, {"schema": 1, "plan": what}, "")
    assert sorted(project.rglob("*")) == before


@pytest.mark.parametrize("port", ["65536", "-1", "http"])
def test_what_is_no_port(project: Path, port: str, ridgeway: Command) -> None:
    code, out, err = ridgeway("serve", "models:/churn/1", f"--port={port}")
    assert (code, out) == (2, "")
    assert err.startswith("error: Invalid value for '--port': ")
    assert err.endswith("  next      ridgeway serve --help\n")


def test_without_a_model(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("serve")
    assert (code, out, err) == (2, "", "error: Missing argument 'MODEL'.\n  next      ridgeway serve --help\n")


@pytest.mark.slow
@pytest.mark.docker
def test_the_very_image_answers_until_ctrl_c(yard: Yard) -> None:
    registry, port = os.environ.get("LAB_REGISTRY", "127.0.0.1:5000"), free_port()
    base = os.environ.get("LAB_BASE_IMAGE", f"{registry}/python:3.11-slim-bookworm")
    settings = ["--set", f"image.repository={registry}/ridgeway-test-serve", "--set", f"image.base={base}"]
    command = ["serve", "models:/diabetes/1", "--image", f"--port={port}", *settings]
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=yard.root,
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if "is loaded" in line:
                break
        answer = httpx.get(f"http://127.0.0.1:{port}/v2", timeout=10).json() if process.poll() is None else {}
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=60)
    assert (process.returncode, "draining" in rest) == (0, True), "".join(said) + rest
    assert any(f"on http://127.0.0.1:{port}; Ctrl-C stops it" in line for line in said)
    assert f"ridgeway-test-serve@{answer['image']}" in "".join(said)


def test_a_plan_of_the_image(project: Path, ridgeway: Command) -> None:
    what = "make the image of models:/churn/1 if it is not, and serve it on http://127.0.0.1:8080"
    assert ridgeway("serve", "models:/churn/1", "--image", "--plan") == (0, f"{what}\n", "")


def test_the_image_of_what_is_not_registered(project: Path, ridgeway: Command) -> None:
    code, out, err = ridgeway("serve", "models:/churn/1", "--image")
    assert (code, out) == (2, "")
    assert err.startswith("error: there is no models:/churn/1\n")
