"""What goes into an image, and how it is known before anything is made."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ridgeway import image
from ridgeway.errors import ModelError, NotFound, UsageError
from ridgeway.image import needs, request, wheels
from ridgeway.image.base_image import Base
from ridgeway.image.needs import Pin
from ridgeway.image.reference import Reference, parse_image, parse_repository
from ridgeway.image.request import ImageRequest, gather
from tests.server.toys import PackageMaker

BASE = Base(Reference("r.example", "python", digest="sha256:" + "b" * 64), "")


@pytest.fixture
def asked(toys: PackageMaker) -> ImageRequest:
    return ImageRequest(toys.linear(version="7"), "r.example/d", "python:3.11", "models:/toy/7", "sha256:7")


# ---- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "Python:3.11", "a b", "python@sha256:12", "r.example/", "x:y:z", "-a/b"])
def test_what_is_no_name_of_an_image_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not the name of an image"):
        parse_image(text)


@pytest.mark.parametrize("text", ["diabetes", "team/diabetes", "r.example/Diabetes", "r.example/d:1", "r.example/"])
def test_what_is_no_repository_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a repository for images"):
        parse_repository(text)


def test_names_are_read_as_docker_reads_them() -> None:
    assert parse_image("team/python").repository == "docker.io/team/python"
    assert parse_image("localhost/python:3").repository == "localhost/python"
    assert parse_image("[::1]:5000/python:3").url == "http://[::1]:5000"
    assert parse_repository("registry.example/d").url == "https://registry.example"
    pinned = f"r.example/python:3.11@sha256:{'a' * 64}"
    assert parse_image(pinned).version == f"sha256:{'a' * 64}"


# ---- identity --------------------------------------------------------------------------------------------------------


def test_the_identity_is_that_of_content_wherever_it_lies(asked: ImageRequest, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "elsewhere"
    shutil.copytree(asked.package, copy)
    same = replace(asked, package=copy, repository="other.example/x", state=tmp_path)
    assert gather(same, BASE).inputs == gather(asked, BASE).inputs


def test_each_input_counts(asked: ImageRequest, toys: PackageMaker, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    pin = gather(asked, BASE).pins[0]
    lock.write_text(f"{pin.name}=={pin.version} \\\n    --hash=sha256:{'1' * 64}\n")
    other = replace(BASE, reference=BASE.reference.at("sha256:" + "c" * 64))
    variants = [
        gather(asked, BASE),
        gather(asked, other),
        gather(replace(asked, package=toys.linear(version="8")), BASE),
        gather(replace(asked, facts={"commit": "c"}), BASE),
        gather(replace(asked, locks=(lock,)), BASE),
        replace(gather(asked, BASE), server="sha256:0"),
    ]
    assert len({parts.inputs for parts in variants}) == len(variants)
    assert len({parts.runtime_inputs for parts in variants}) == 4  # package and facts are not of the runtime


def test_hashes_come_from_the_lock_whatever_way_it_writes_a_name(tmp_path: Path) -> None:
    version = needs.pins(["threadpoolctl"], [])[0].version
    lock = tmp_path / "requirements.txt"
    lock.write_text(
        f"ThreadPoolCtl=={version} ; python_version > '3' \\\n    --hash=sha256:{'2' * 64} \\\n"
        f"    --hash=sha256:{'1' * 64}\n    # via x\nother==1 --hash=sha256:{'3' * 64}\n"
    )
    assert needs.pins(["threadpoolctl"], [lock]) == (
        Pin("threadpoolctl", version, (f"sha256:{'1' * 64}", f"sha256:{'2' * 64}")),
    )
    assert needs.drift(["threadpoolctl"], [lock]) == ()
    assert needs.drift(["threadpoolctl"], []) == (f"threadpoolctl=={version}",)


def test_ridgeways_own_lock_serves_where_a_project_has_none(tmp_path: Path) -> None:
    (carried,) = needs.locks_of(tmp_path)
    assert carried.name == "requirements.txt"
    (tmp_path / "env").mkdir()
    (tmp_path / "env/requirements.txt").write_text("")
    assert needs.locks_of(tmp_path) == (tmp_path / "env/requirements.txt", carried)


@pytest.mark.parametrize(
    ("kind", "further"),
    [("linear", set()), ("trees", set()), ("onnx", {"onnxruntime"}), ("skops", {"scikit-learn", "skops"})],
)
def test_each_kind_of_model_brings_what_it_needs_alone(kind: str, further: set[str]) -> None:
    assert set(needs.wanted({"kind": kind})) - set(needs.SERVER) == further


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(UsageError, match="no-such-thing is not installed here"):
        needs.pins(["no-such-thing"], [])


# ---- the project's own wheels ----------------------------------------------------------------------------------------


def make_wheel(folder: Path, requires: str = "") -> Path:
    path = folder / "own_steps-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("own_steps/__init__.py", "")
        archive.writestr(
            "own_steps-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: own-steps\nVersion: 1.0\n{requires}"
        )
        archive.writestr("own_steps-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("own_steps-1.0.dist-info/RECORD", "")
    return path


def skops_package(toys: PackageMaker) -> Path:
    return toys.linear("sk", kind="skops", form={"input": "matrix", "trusted": []})


def test_own_wheels_go_where_code_is_needed_and_only_there(
    asked: ImageRequest, toys: PackageMaker, tmp_path: Path
) -> None:
    wheel = make_wheel(tmp_path, "Requires-Dist: threadpoolctl\nRequires-Dist: pywin32; sys_platform == 'win32'\n")
    parts = gather(replace(asked, package=skops_package(toys), wheels=(wheel,)), BASE)
    assert [(one.name, one.version, one.modules) for one in parts.wheels] == [("own-steps", "1.0", ("own_steps",))]
    assert gather(replace(asked, wheels=(wheel,)), BASE).wheels == ()


def test_a_wheel_that_is_missing_or_none_is_named(asked: ImageRequest, toys: PackageMaker, tmp_path: Path) -> None:
    code = replace(asked, package=skops_package(toys))
    with pytest.raises(NotFound, match=r"there is no wheel a-1-py3-none-any\.whl"):
        gather(replace(code, wheels=(tmp_path / "a-1-py3-none-any.whl",)), BASE)
    (tmp_path / "b-1-py3-none-any.whl").write_text("no archive")
    with pytest.raises(UsageError, match="is not a wheel"):
        gather(replace(code, wheels=(tmp_path / "b-1-py3-none-any.whl",)), BASE)


# ---- folders ---------------------------------------------------------------------------------------------------------


def test_a_folder_is_image_enough_for_processes(asked: ImageRequest) -> None:
    made = image.folder_image(asked.package, name="toy", model="models:/toy/7", model_digest="sha256:7")
    assert made.is_folder
    assert made.repository == "folder/toy"
    assert made.digest == made.inputs
    assert made == image.folder_image(asked.package, name="toy", model="models:/toy/7", model_digest="sha256:7")


def test_another_server_is_another_folder_image(asked: ImageRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest() -> str:
        return image.folder_image(asked.package, name="toy", model="m", model_digest="d").digest

    before = digest()
    monkeypatch.setattr("ridgeway.image.folders.server_digest", lambda: "sha256:0")
    assert digest() != before


def test_an_altered_folder_is_refused(toys: PackageMaker) -> None:
    package = toys.linear("altered")
    (package / "weights.npy").write_bytes(b"x")
    with pytest.raises(ModelError, match="not as it was compiled"):
        image.folder_image(package, name="toy", model="m", model_digest="d")
    (package / "model.json").unlink()
    with pytest.raises(ModelError):
        image.folder_image(package, name="toy", model="m", model_digest="d")


# ---- tools -----------------------------------------------------------------------------------------------------------


def test_uv_of_the_project_serves_and_without_any_tool_the_next_step_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(UsageError, match="neither uv nor pip"):
        wheels.installer(tmp_path)
    tool = tmp_path / ".tools/bin/uv"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    assert wheels.installer(tmp_path) == [str(tool), "pip"]


@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        ("Hash mismatch for `orjson`", "Permanent", "altered"),
        ("error sending request for url", "Unreachable", "try again"),
        ("no matching distribution", "Permanent", "image.base"),
    ],
)
def test_a_failure_to_fetch_is_told_by_its_cause(text: str, kind: str, word: str) -> None:
    error = wheels._failure(text)
    assert type(error).__name__ == kind
    assert word in str(error)


def test_what_pip_was_told_about_indexes_holds_for_uv_too(tmp_path: Path) -> None:
    given = wheels._environment({"PIP_INDEX_URL": "https://index.example/simple", "PIP_TARGET": "/x", "PIP_CERT": "/c"})
    assert given["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert given["SSL_CERT_FILE"] == "/c"
    assert "PIP_TARGET" not in given


def test_the_projects_settings_make_the_request(tmp_path: Path) -> None:
    from ridgeway.project import open_project

    (tmp_path / "ridgeway.toml").write_text(
        '[project]\nname = "toy"\n[image]\npackages = ["dist/a-1-py3-none-any.whl"]\n'
    )
    made: Callable[..., ImageRequest] = request.request_for
    asked = made(
        open_project(tmp_path), tmp_path, model="models:/toy/1", model_digest="sha256:1", facts={"commit": "c"}
    )
    assert asked.repository == "127.0.0.1:5000/toy"
    assert asked.base == "python:3.11-slim-bookworm"
    assert asked.wheels == (tmp_path / "dist/a-1-py3-none-any.whl",)
    assert asked.state == tmp_path / ".ridgeway"
