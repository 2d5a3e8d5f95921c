"""Images are made of their inputs alone, once, with nothing in them that a server has no use for."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from ridgeway import image
from ridgeway.errors import ModelError, NotFound, UsageError
from ridgeway.image import ImageRequest, wheels
from ridgeway.image.layers import write_layer
from ridgeway.image.reference import parse_image
from ridgeway.image.registry_client import OCI_INDEX, OCI_MANIFEST, Registry, sha256
from tests.image.conftest import Built, Gate
from tests.server.toys import PackageMaker

pytestmark = pytest.mark.docker


def manifest_of(handle: str) -> dict[str, Any]:
    with Registry(parse_image(handle)) as registry:
        found = registry.manifest(handle.partition("@")[2])
    assert found is not None
    return found.content


def config_of(handle: str) -> dict[str, Any]:
    with Registry(parse_image(handle)) as registry:
        content: dict[str, Any] = json.loads(registry.read_blob(manifest_of(handle)["config"]["digest"]))
    return content


def files_in(handle: str, layers: slice) -> dict[str, tarfile.TarInfo]:
    found: dict[str, tarfile.TarInfo] = {}
    with Registry(parse_image(handle)) as registry:
        for layer in manifest_of(handle)["layers"][layers]:
            with tarfile.open(fileobj=io.BytesIO(registry.read_blob(layer["digest"]))) as archive:
                found |= {member.name: member for member in archive}
    return found


# ---- what is in it ---------------------------------------------------------------------------------------------------


def test_an_image_says_what_it_is_made_of(built: Built) -> None:
    made = built.image
    assert made.repository == built.request.repository
    assert (made.model, made.model_digest) == ("models:/toy/1", "sha256:" + "7" * 64)
    assert made.base.partition("@")[0] == built.request.base.rpartition(":")[0]
    labels = config_of(made.handle)["config"]["Labels"]
    assert labels["org.opencontainers.image.revision"] == "c" * 40
    assert labels["org.opencontainers.image.source"] == "https://git.example/toy"
    assert labels["org.opencontainers.image.base.digest"] == made.base.partition("@")[2]
    assert labels["dev.ridgeway.model"] == "models:/toy/1"
    assert labels["dev.ridgeway.dataset"] == "data://toy@sha256:1"
    assert labels["dev.ridgeway.runtime"] == made.runtime.partition("@")[2]
    assert labels["dev.ridgeway.inputs"] == made.inputs


def test_a_model_adds_one_layer_to_the_runtime_and_nothing_else(built: Built) -> None:
    below, above = manifest_of(built.image.runtime)["layers"], manifest_of(built.image.handle)["layers"]
    assert above[:-1] == below
    assert sorted(
        name for name, member in files_in(built.image.handle, slice(-1, None)).items() if member.isfile()
    ) == [
        "models/toy/1/model.json",
        "models/toy/1/offset.npy",
        "models/toy/1/weights.npy",
    ]


def test_a_linear_model_brings_the_server_and_four_distributions(built: Built) -> None:
    names = files_in(built.image.runtime, slice(-2, None))
    assert {name.split("/")[1].partition("-")[0] for name in names if name.startswith("app/")} == {
        "httptools", "numpy", "numpy.libs", "orjson", "ridgeway_server", "uvloop",
    }  # fmt: skip
    assert not [name for name in names if "/tests/" in name or name.endswith((".c", ".h", ".pyx", ".a"))]


def test_files_belong_to_root_can_be_read_by_all_and_tell_no_time(built: Built) -> None:
    members = files_in(built.image.handle, slice(-3, None)).values()
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 315532800)}
    assert {oct(member.mode) for member in members} == {"0o644", "0o755"}


def test_bytecode_is_there_where_our_python_is_that_of_the_image(built: Built) -> None:
    names = files_in(built.image.runtime, slice(-2, None))
    compiled = f"app/ridgeway_server/__pycache__/worker.cpython-{sys.version_info[0]}{sys.version_info[1]}.pyc"
    assert (compiled in names) == (sys.version_info[:2] == (3, 11))


def test_the_container_has_a_number_for_a_user_and_settings_that_can_be_changed(built: Built) -> None:
    config = config_of(built.image.handle)["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"][1:] == ["-m", "ridgeway_server"]
    assert "Cmd" not in config
    environment = dict(line.split("=", 1) for line in config["Env"])
    assert environment["RIDGEWAY_SERVER_MODELS"] == "/models"
    assert environment["RIDGEWAY_SERVER_HOST"] == "0.0.0.0"
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["ORT_DISABLE_TELEMETRY"] == "1"
    # Without keys, and without being told that none are wanted, the server does not start.
    assert not {"RIDGEWAY_SERVER_ACCESS", "RIDGEWAY_SERVER_KEYS_DIR"} & set(environment)


def test_the_linear_form_is_at_most_120_mb_above_the_base(built: Built) -> None:
    above = int(manifest_of(built.image.runtime)["annotations"]["dev.ridgeway.bytes-above-base"])
    assert 20e6 < above < 120e6


def test_the_bill_of_materials_names_each_part_and_is_found_by_the_image(built: Built) -> None:
    content = image.sbom(built.image)
    assert image.bill_file(built.image, built.request.state).read_bytes() == content
    bill = json.loads(content)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == built.image.digest
    parts = {part["name"]: part for part in bill["components"]}
    assert {"httptools", "numpy", "orjson", "uvloop", "ridgeway-server", "toy"} < set(parts)
    assert parts["numpy"]["purl"].startswith("pkg:pypi/numpy@2")
    assert parts["numpy"]["properties"] == [{"name": "ridgeway:origin", "value": "checked against the lock"}]
    assert parts["toy"]["type"] == "machine-learning-model"


# ---- once ------------------------------------------------------------------------------------------------------------


def test_another_machine_finds_the_image_and_writes_nothing(
    built: Built, gate: Gate, another: Callable[..., ImageRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")  # nothing here needs an engine
    monkeypatch.setattr(wheels, "installer", lambda _: ["/nothing/is/fetched"])
    package = tmp_path / "a copy elsewhere"
    shutil.copytree(built.request.package, package)
    gate.forget()
    assert image.build(another(package=package), say=print) == built.image
    assert image.find(another(package=package)) == built.image
    assert gate.writes == []


def test_looking_an_image_up_asks_for_one_manifest(
    built: Built, gate: Gate, another: Callable[..., ImageRequest]
) -> None:
    gate.forget()
    assert image.find(another()) == built.image
    assert [line.split("/")[0] + line.rpartition("/")[2][:6] for line in gate.log] == ["GET model-"]


def test_a_new_model_sends_less_than_a_megabyte_and_makes_no_runtime(
    built: Built, gate: Gate, another: Callable[..., ImageRequest], toys: PackageMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wheels, "unpack", lambda *_, **__: pytest.fail("the runtime was made again"))
    gate.forget()
    said: list[str] = []
    newer = image.build(another(package=toys.linear(version="2"), model="models:/toy/2"), say=said.append)
    assert newer.runtime == built.image.runtime
    assert newer.digest != built.image.digest
    assert 0 < gate.written_bytes < 1e6
    assert said == [f"stored {newer.handle} (0.0 MiB sent)"]


@pytest.mark.parametrize(
    "changes", [{"facts": {"commit": "d" * 40}}, {"model": "models:/toy/9"}, {"model_digest": "sha256:0"}]
)
def test_other_facts_make_another_image(
    another: Callable[..., ImageRequest], built: Built, changes: dict[str, Any]
) -> None:
    assert image.find(another(**changes)) is None


def test_a_tag_that_was_moved_is_not_believed(
    built: Built, another: Callable[..., ImageRequest], toys: PackageMaker
) -> None:
    wanted = another(package=toys.linear(version="3"), model="models:/toy/3")
    made = image.build(wanted, say=print)
    foreign = json.dumps(manifest_of(built.image.handle)).encode()
    with Registry(wanted.target) as registry:
        registry.put_manifest(f"model-{made.inputs.removeprefix('sha256:')}", foreign, OCI_MANIFEST)
    assert image.find(wanted) is None
    assert image.build(wanted, say=print) == made


def test_a_bill_that_was_removed_stops_nothing(built: Built, another: Callable[..., ImageRequest]) -> None:
    from dataclasses import replace

    with pytest.raises(NotFound, match="no bill of materials"):
        image.sbom(replace(built.image, digest="sha256:" + "0" * 64))


@pytest.mark.slow
def test_equal_inputs_give_equal_images_whatever_fetches_the_wheels(
    built: Built,
    another: Callable[..., ImageRequest],
    new_repository: Callable[[], str],
    uv: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import subprocess

    environment = tmp_path / "with-pip"
    subprocess.run([uv, "venv", "-q", "--seed", "--python", sys.executable, environment], check=True)
    monkeypatch.setattr(wheels, "installer", lambda _: [str(environment / "bin/python"), "-m", "pip"])
    assert image.build(another(repository=new_repository()), say=print).digest == built.image.digest


# ---- the base --------------------------------------------------------------------------------------------------------


CONFIG = "application/vnd.oci.image.config.v1+json"


def store(registry: Registry, config: dict[str, Any], layers: list[dict[str, Any]]) -> tuple[bytes, str]:
    """An image of layers that are there already: its manifest and digest."""
    body = json.dumps(config).encode()
    registry.put_blob(sha256(body), body, len(body))
    named = {"mediaType": CONFIG, "size": len(body), "digest": sha256(body)}
    content = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": named, "layers": layers}
    manifest = json.dumps(content).encode()
    return manifest, registry.put_manifest(sha256(manifest), manifest, OCI_MANIFEST)


def put_on_top(base: str, repository: str, files: dict[str, bytes | Path], folder: Path) -> str:
    """A new image: that base with one layer more; its name by tag."""
    source, target = parse_image(base), parse_image(f"{repository}:1")
    layer = write_layer(folder / "more.tar.gz", files)
    with Registry(source) as below, Registry(target) as registry:
        found = below.manifest(source.tag)
        assert found is not None
        layers = [{**one, "mediaType": layer.descriptor["mediaType"]} for one in found.content["layers"]]
        for one in layers:
            registry.put_blob(one["digest"], b"".join(below.stream_blob(one["digest"])), one["size"])
        registry.put_blob(layer.digest, layer.path.read_bytes(), layer.size)
        config = json.loads(below.read_blob(found.content["config"]["digest"]))
        config["rootfs"]["diff_ids"].append(layer.diff_id)
        manifest, _ = store(registry, config, [*layers, layer.descriptor])
        registry.put_manifest("1", manifest, OCI_MANIFEST)
    return target.handle


@pytest.mark.slow
def test_what_installs_packages_is_hidden_and_layers_are_taken_over_within_a_registry(
    gate: Gate, another: Callable[..., ImageRequest], new_repository: Callable[[], str], base_image: str, tmp_path: Path
) -> None:
    packages = "usr/local/lib/python3.11/site-packages"
    hidden = {
        f"{packages}/pip/__init__.py": b"",
        f"{packages}/pip-24.0.dist-info/METADATA": b"",
        "usr/local/bin/pip3": b"",
    }
    target = new_repository()
    base = put_on_top(base_image, new_repository(), {**hidden, "usr/bin/gcc": b""}, tmp_path)
    gate.forget()
    said: list[str] = []
    made = image.build(another(repository=target, base=base), say=said.append)
    layers = files_in(made.runtime, slice(-2, None))
    assert {name for name in layers if ".wh." in name} >= {
        f"{packages}/.wh.pip", f"{packages}/.wh.pip-24.0.dist-info", "usr/local/bin/.wh.pip3",
    }  # fmt: skip
    assert "the base image has a compiler (usr/bin/gcc): a slim one would not" in said
    # The base is 50 MB; it lay in the same registry.
    assert [write for write in gate.writes if "mount=" in write]
    assert gate.written_bytes < 40e6


def test_a_base_that_no_registry_has_is_refused(another: Callable[..., ImageRequest], gate: Gate) -> None:
    with pytest.raises(NotFound) as caught:
        image.find(another(base=f"{gate.host}/only-here:1"))
    assert f"docker push {gate.host}/only-here:1" in caught.value.next_step


def test_a_base_without_a_python_for_the_server_is_refused(
    another: Callable[..., ImageRequest], new_repository: Callable[[], str], tmp_path: Path
) -> None:
    target = new_repository()
    base = base_of({"usr/bin/python3.9": b""}, target, tmp_path)
    with pytest.raises(UsageError, match=r"it has Python 3\.9 on its PATH"):
        image.build(another(repository=target, base=base), say=print)


def test_a_base_on_musl_is_refused(
    another: Callable[..., ImageRequest], new_repository: Callable[[], str], tmp_path: Path
) -> None:
    target = new_repository()
    base = base_of({"usr/bin/python3.11": b"", "lib/ld-musl-x86_64.so.1": b""}, target, tmp_path)
    with pytest.raises(UsageError, match="musl"):
        image.build(another(repository=target, base=base), say=print)


def base_of(files: dict[str, bytes | Path], repository: str, folder: Path) -> str:
    """An image of one layer with these files, for several kinds of machine; its name by tag."""
    reference = parse_image(f"{repository}:1")
    layer = write_layer(folder / "small.tar.gz", files)
    root = {"type": "layers", "diff_ids": [layer.diff_id]}
    with Registry(reference) as registry:
        registry.put_blob(layer.digest, layer.path.read_bytes(), layer.size)
        variants = []
        for one in ("amd64", "arm64"):
            config = {"architecture": one, "os": "linux", "config": {}, "rootfs": root}
            manifest, digest = store(registry, config, [layer.descriptor])
            named = {"mediaType": OCI_MANIFEST, "size": len(manifest), "digest": digest}
            variants.append({**named, "platform": {"os": "linux", "architecture": one}})
        body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": variants}).encode()
        registry.put_manifest("1", body, OCI_INDEX)
    return reference.handle


# ---- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["weights.npy", "model.json"])
def test_an_altered_package_is_refused(
    another: Callable[..., ImageRequest], built: Built, gate: Gate, tmp_path: Path, file: str
) -> None:
    package = tmp_path / "altered"
    shutil.copytree(built.request.package, package)
    content = bytearray((package / file).read_bytes())
    content[-9] ^= 1
    (package / file).write_bytes(bytes(content))
    gate.forget()
    with pytest.raises(ModelError, match="not as it was compiled"):
        image.build(another(package=package), say=print)
    assert gate.log == []


@pytest.mark.slow
def test_a_wheel_that_is_not_what_the_lock_says_is_refused(
    another: Callable[..., ImageRequest], new_repository: Callable[[], str], tmp_path: Path
) -> None:
    from ridgeway.errors import Permanent
    from ridgeway.image import needs

    versions = {pin.name: pin.version for pin in needs.pins(needs.SERVER, [])}
    lock = tmp_path / "requirements.txt"
    lock.write_text(f"orjson=={versions['orjson']} --hash=sha256:{'0' * 64}\n")
    target = new_repository()
    with pytest.raises(Permanent, match=r"(?i)hash") as caught:
        image.build(another(repository=target, locks=(lock,)), say=print)
    assert "the index or the lock was altered" in caught.value.next_step
    assert httpx.get(f"http://{parse_image(target).host}/v2/{parse_image(target).path}/tags/list").status_code == 404
