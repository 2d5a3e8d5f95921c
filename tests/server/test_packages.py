from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ridgeway_server.errors import PackageError
from ridgeway_server.models import load_model
from ridgeway_server.packages import manifest_digest, read_package
from tests.server.toys import npy


def test_a_sound_package_loads_and_predicts(packages) -> None:
    model = load_model(read_package(packages.linear()))
    answer = model.predict(model.signature.from_rows([[10, 1, 1], [0, 0, 0]]))
    assert answer.values.tolist() == [16.0, 10.0]
    assert (model.name, model.version, model.kind, model.costly) == ("toy", "1", "linear", False)


def _altered_array(folder: Path) -> None:
    content = bytearray((folder / "weights.npy").read_bytes())
    content[-1] ^= 1
    (folder / "weights.npy").write_bytes(content)


def _cut_short(folder: Path) -> None:
    path = folder / "weights.npy"
    path.write_bytes(path.read_bytes()[:-8])


def _missing_file(folder: Path) -> None:
    (folder / "offset.npy").unlink()


def _manifest(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    manifest.update(changes)
    (folder / "model.json").write_text(json.dumps(manifest))


def _altered_manifest(folder: Path) -> None:
    _manifest(folder, lineage={"data": "another"})


def _cut_manifest(folder: Path) -> None:
    path = folder / "model.json"
    path.write_bytes(path.read_bytes()[:-30])


def _signed(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    manifest.update(changes)
    manifest["digest"] = manifest_digest(manifest)
    (folder / "model.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_altered_array, "altered"),
        (_cut_short, "cut short"),
        (_missing_file, "cannot be read"),
        (_altered_manifest, "was altered"),
        (_cut_manifest, "not JSON"),
        (lambda folder: (folder / "model.json").unlink(), "cannot be read"),
        (lambda folder: (folder / "model.json").write_text("[1]"), "expected schema"),
        (lambda folder: _signed(folder, schema=2), "expected schema 1"),
        (lambda folder: _signed(folder, kind="pickle"), "expected schema 1 and a kind"),
        (lambda folder: _signed(folder, name="../etc"), "expected letters"),
        (lambda folder: _signed(folder, name="a\r\nb: c"), "expected letters"),
        (lambda folder: _signed(folder, files={"../secret": {"sha256": "", "bytes": 0}}), "leads out"),
        (lambda folder: _signed(folder, files={}), "no file 'weights.npy'"),
        (lambda folder: _signed(folder, kind="logistic"), "scores for 0 classes"),
        (lambda folder: _signed(folder, kind="onnx"), "onnx"),
        (
            lambda folder: _signed(folder, signature={"columns": [{"name": "a", "type": "number"}]}),
            "expected numbers of",
        ),
        (lambda folder: _signed(folder, signature={"columns": [{"name": "a", "type": "date"}]}), "unknown types"),
        (lambda folder: _signed(folder, signature={}), "cannot be loaded"),
    ],
)
def test_a_package_that_is_not_true_to_itself_is_not_loaded(packages, damage, says) -> None:
    folder = packages.linear()
    damage(folder)
    with pytest.raises(PackageError, match=says):
        load_model(read_package(folder))


def test_no_pickle_is_ever_read(packages) -> None:
    folder = packages.linear()
    manifest = json.loads((folder / "model.json").read_text())
    np.save(folder / "weights.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    packages.write(folder, manifest, {name: (folder / name).read_bytes() for name in ("weights.npy", "offset.npy")})
    with pytest.raises(PackageError, match="not an array"):
        load_model(read_package(folder))


def test_trees_that_point_out_of_their_arrays_are_refused(packages) -> None:
    folder = packages.tree()
    manifest = json.loads((folder / "model.json").read_text())
    files = {path.name: path.read_bytes() for path in folder.glob("*.npy")}
    packages.write(folder, manifest, {**files, "left.npy": npy(np.array([1, 1, 7], np.int32))})
    with pytest.raises(PackageError, match="point out"):
        load_model(read_package(folder))
