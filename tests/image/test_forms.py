"""Images of models that need more than arithmetic, and of a project's own transformers: built, measured, asked."""

from __future__ import annotations

import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from ridgeway import image
from ridgeway.artifacts import Column, Image
from ridgeway.image import ImageRequest
from tests.image.test_build import manifest_of

pytestmark = [pytest.mark.docker, pytest.mark.slow]
OWN = """
from sklearn.base import BaseEstimator, TransformerMixin


class Doubled(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X):
        return X * 2.0
"""


def ask(made: Image, row: list[float]) -> tuple[float, float]:
    """The prediction for a row, and the seconds from the container's start to ready."""
    engine = docker.from_env()
    engine.images.pull(made.repository, tag=made.digest)
    container = engine.containers.create(
        made.handle, environment={"RIDGEWAY_SERVER_ACCESS": "none"}, ports={"8080/tcp": ("127.0.0.1", 0)},
        read_only=True, cap_drop=["ALL"], mem_limit="512m",
    )  # fmt: skip
    try:
        start = time.monotonic()
        container.start()
        container.reload()
        address = f"http://127.0.0.1:{container.ports['8080/tcp'][0]['HostPort']}"
        while time.monotonic() - start < 60:
            try:
                if httpx.get(f"{address}/v2/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.02)
        seconds = time.monotonic() - start
        answer = httpx.post(f"{address}/score", json={"data": [row]})
        assert answer.status_code == 200, (answer.text, container.logs())
        return float(answer.json()["result"][0]), seconds
    finally:
        container.remove(force=True)
        engine.close()


def compiled(estimator: Any, folder: Path, form: str) -> tuple[Path, list[float], float]:
    """A package of that form, a row, and what the estimator says to it."""
    from sklearn.datasets import load_diabetes

    from ridgeway.compiled import compile_model

    data = load_diabetes(as_frame=True, scaled=False)
    frame, target = data.data.astype(float), data.target
    estimator.fit(frame[:350], target[:350])
    compile_model(
        estimator, folder, name="toy", version="1", features=tuple(Column(str(name), "number") for name in frame),
        task="regression", classes=(), holdout_frame=frame[350:], lineage={}, forms=(form,),
    )  # fmt: skip
    return folder, frame.iloc[400].tolist(), float(estimator.predict(frame.iloc[[400]])[0])


@pytest.mark.parametrize("form", ["skops", "skops with pandas", "onnx"])
def test_each_form_answers_as_trained_and_keeps_its_size(
    another: Callable[..., ImageRequest], new_repository: Callable[[], str], tmp_path: Path, form: str
) -> None:
    from sklearn.linear_model import Ridge

    folder, row, expected = compiled(Ridge(), tmp_path / "package", form)
    made = image.build(another(package=folder, repository=new_repository()), say=print)
    above = int(manifest_of(made.runtime)["annotations"]["dev.ridgeway.bytes-above-base"])
    answer, seconds = ask(made, row)
    assert answer == pytest.approx(expected, rel=1e-9)
    assert 100e6 < above < 350e6
    assert seconds < 20


def test_a_projects_own_transformer_goes_with_its_wheel(
    another: Callable[..., ImageRequest],
    new_repository: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    wheel = tmp_path / "own_steps-1.0-py3-none-any.whl"
    info = "own_steps-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("own_steps.py", OWN)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: own-steps\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"own_steps.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    shutil.unpack_archive(wheel, tmp_path / "installed", "zip")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    import own_steps

    folder, row, expected = compiled(make_pipeline(own_steps.Doubled(), Ridge()), tmp_path / "package", "skops")
    del sys.modules["own_steps"]
    asked = another(package=folder, repository=new_repository(), wheels=(wheel,))
    made = image.build(asked, say=print)
    answer, _ = ask(made, row)
    assert answer == pytest.approx(expected, rel=1e-9)
    assert image.find(replace(asked, wheels=())) is None
