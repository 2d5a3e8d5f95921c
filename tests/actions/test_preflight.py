"""Whether a release would get through: each finding, and that looking leaves nothing behind."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from ridgeway.actions import preflight
from ridgeway.artifacts import Finding
from ridgeway.errors import UsageError
from ridgeway.project import open_project
from ridgeway.targets import memory
from tests.actions.conftest import Yard

SETTINGS = """
[project]
name = "churn"
[targets.qa]
kind = "memory"
[targets.production]
kind = "memory"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "ridgeway.toml").write_text(SETTINGS, encoding="utf-8")
    return tmp_path


def found(root: Path, target: str = "", **settings: Any) -> dict[str, Finding]:
    project = open_project(root, overrides=[f"{name.replace('__', '.')}={value}" for name, value in settings.items()])
    return {finding.check: finding for finding in preflight.look(project, target)}


def test_all_stages_in_the_order_in_which_they_are_needed(root: Path) -> None:
    seen = found(root)
    assert list(seen) == ["python", "disk", "model registry", "qa: place", "production: place"]
    assert {finding.outcome for finding in seen.values()} == {"pass", "warn"}
    assert seen["model registry"].next_step == "ridgeway run retraining"
    assert list(found(root, "qa")) == ["python", "disk", "model registry", "qa: place"]


def test_looking_leaves_nothing_behind(root: Path) -> None:
    found(root)
    assert sorted(path.name for path in root.rglob("*")) == ["ridgeway.toml"]


def test_an_unknown_target(root: Path) -> None:
    with pytest.raises(UsageError, match="no target 'qaa'"):
        found(root, "qaa")


def test_one_place_that_does_not_answer_hides_no_other_finding(root: Path) -> None:
    memory.place(root, "qa").unreachable = True
    seen = found(root)
    assert (seen["qa: place"].outcome, seen["qa: place"].next_step) == ("fail", "ridgeway preflight qa")
    assert seen["production: place"].outcome == "pass"


def test_a_model_registry_that_does_not_answer(root: Path) -> None:
    seen = found(root, registry__uri="http://127.0.0.1:9")
    assert seen["model registry"].outcome == "fail"
    assert "127.0.0.1:9" in seen["model registry"].sentence
    assert seen["production: place"].outcome == "pass"


def test_an_old_python_and_a_full_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 2**20))
    monkeypatch.setattr(preflight.sys, "version_info", (3, 10, 2))
    seen = found(root)
    assert (seen["python"].outcome, seen["python"].sentence) == ("fail", "3.10.2")
    assert seen["disk"] == Finding("disk", "fail", "1 MiB are free", "make room")


def certificate(folder: Path, days: int) -> None:
    """A certificate that ends in so many days, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "churn.example")])
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days, hours=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(ends - datetime.timedelta(days=400))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    (folder / "chain.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


@pytest.mark.parametrize(("days", "outcome"), [(90, "pass"), (5, "warn"), (-3, "fail")])
def test_how_long_a_certificate_is_valid(root: Path, days: int, outcome: str) -> None:
    certificate(root, days)
    tls = '{ certificate = "chain.pem", key = "key.pem" }'
    finding = found(root, "qa", targets__qa__tls=tls)["qa: tls certificate"]
    assert (finding.outcome, f"({days} days)" in finding.sentence) == (outcome, True)
    assert bool(finding.next_step) == (outcome != "pass")


def test_certificates_that_are_not_there_or_are_none(root: Path) -> None:
    seen = found(root, "qa", targets__qa__tls='{ certificate = "chain.pem", key = "key.pem" }')
    assert {"qa: tls certificate", "qa: tls key"} <= {name for name, one in seen.items() if one.outcome == "fail"}
    (root / "chain.pem").write_text("no certificate", encoding="utf-8")
    assert found(root, "qa", targets__qa__tls='{ certificate = "chain.pem" }')["qa: tls"].outcome == "fail"
    (root / "key.pem").write_text("no key", encoding="utf-8")
    seen = found(root, "qa", targets__qa__tls='{ certificate = "chain.pem", key = "key.pem" }')
    assert seen["qa: tls certificate"].outcome == "fail"


def test_it_answers_without_mlflow(root: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from ridgeway.actions import preflight; "
        "from ridgeway.project import open_project; "
        "list(preflight.look(open_project(Path.cwd()))); sys.exit('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_registry_that_does_not_answer_is_one_finding_among_others(yard: Yard) -> None:
    findings = list(
        preflight.images(yard.project('image.repository="127.0.0.1:9/diabetes"', 'image.base="x@sha256:0"'), ())
    )
    failed = [finding for finding in findings if finding.outcome == "fail"]
    assert failed
    assert "127.0.0.1:9" in " ".join(finding.sentence for finding in failed)
    assert all(finding.next_step for finding in failed)


def test_an_engine_that_a_stage_needs_is_no_warning(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    project = yard.project('targets.qa.kind="docker"', 'image.repository="127.0.0.1:9/x"', 'image.base="x@sha256:0"')
    for stages, outcome in ((("qa",), "fail"), ((), "warn")):
        found = {finding.check: finding.outcome for finding in preflight.images(project, stages)}
        assert found["Docker engine"] == outcome
