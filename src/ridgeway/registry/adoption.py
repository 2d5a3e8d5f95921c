"""Versions that somebody registered with plain MLflow: what they hold, and how they become versions like any other."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from ridgeway.artifacts import Candidate, ModelVersion, Verdict
from ridgeway.errors import NotFound, Transient
from ridgeway.registry import records
from ridgeway.registry.files import local_folder
from ridgeway.registry.look import COMPLETE_TAG, DIGEST_TAG
from ridgeway.registry.store import Registry

Form = Literal["skops", "pickle", "other", "unknown"]
"""How a model is stored. ``pickle``: in a way that runs code when it is opened."""
_PICKLED = ("pickle", "cloudpickle", "joblib", "dill")
log = logging.getLogger("ridgeway.registry")


class Adoption:
    """Looks at versions that Ridgeway did not register, and takes them in. Nothing is ever loaded here.

    Args:
        registry: Of the model; the same client is used.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._call, self._connection = registry._call, registry._connection  # noqa: SLF001 - one package

    def candidate_of(self, version: ModelVersion) -> Candidate | None:
        """The candidate of ours that the version is; None where it holds something else.

        Somebody registered what a retraining had left in its run: the run holds rows, predictions and digests, and the
        version's files are that run's own.
        """
        if not version.run_id:
            return None
        try:
            candidate = self._registry.candidate(version.run_id)
        except NotFound:
            return None
        run = self._call("cannot read the run", "get_run", version.run_id)
        own = (f"{run.info.artifact_uri}/model", f"runs:/{version.run_id}/model")
        return candidate if self._address(version).rstrip("/") in own else None

    def form_of(self, version: ModelVersion) -> Form:
        """How the version's model is stored, as its MLmodel file says.

        Raises:
            Transient: The server or the store does not answer.
        """
        try:
            flavours = yaml.safe_load(self._description(version))["flavors"]
        except Transient:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a store, or a library that it lacks, raises
            log.info("%s: its MLmodel file cannot be read: %s: %s", version.handle, type(error).__name__, error)
            return "unknown"
        formats = {str(one.get("serialization_format", "")) for one in flavours.values() if isinstance(one, dict)}
        if formats & set(_PICKLED):
            return "pickle"
        return "skops" if "skops" in formats else "other"

    def _address(self, version: ModelVersion) -> str:
        doing = "cannot read where the version's files are"
        return str(self._call(doing, "get_model_version_download_uri", self._registry.name, str(version.number)))

    def _description(self, version: ModelVersion) -> str:
        address, database = self._address(version), self._connection.database
        folder = local_folder(database, address) if database is not None else None
        if folder is not None:
            return (folder / "MLmodel").read_text(encoding="utf-8")
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with tempfile.TemporaryDirectory(prefix="ridgeway-") as place:
            repository = get_artifact_repository(address, tracking_uri=self._registry.uri)
            fetched = self._connection.call(
                "cannot read the model's files", repository.download_artifacts, "MLmodel", place
            )
            return Path(fetched).read_text(encoding="utf-8")

    def adopt(
        self, version: ModelVersion, candidate: Candidate, verdict: Verdict, *, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The version as Ridgeway would have registered it: with the candidate's lineage and the verdict.

        May be killed anywhere and called again: until its digest is there it counts as registered by somebody else, and
        the digest is written last but for the alias and the note that all is whole.

        Raises:
            Permanent: The verdict does not let this candidate in.
        """
        records.check_accepted(candidate, verdict)
        wanted: dict[str, Any] = records.version_tags(candidate, verdict, tags)
        digest = wanted.pop(DIGEST_TAG)
        for name, value in [*wanted.items(), (DIGEST_TAG, digest)]:
            self._tag(version, name, value)
        self._registry.set_alias("challenger", version.number)
        self._tag(version, COMPLETE_TAG, records.COMPLETE)
        log.info("%s was judged and is a version like any other now", version.handle)
        return self._registry.version(version.number)

    def _tag(self, version: ModelVersion, name: str, value: str) -> None:
        doing = "cannot complete the version"
        self._call(doing, "set_model_version_tag", self._registry.name, str(version.number), name, str(value))
