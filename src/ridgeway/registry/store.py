"""The registry as the rest of Ridgeway sees it: runs, candidates, verdicts, versions."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ridgeway.artifacts import SCHEMA, Candidate, ModelVersion, Verdict, from_json, to_json
from ridgeway.errors import BadData, ModelError, NotFound, Permanent, RidgewayError, UsageError
from ridgeway.places import state_of
from ridgeway.registry import records
from ridgeway.registry.connection import Connection
from ridgeway.registry.files import RunFiles, experiment_location
from ridgeway.registry.look import COMPLETE_TAG, DIGEST_TAG
from ridgeway.registry.records import Run

log = logging.getLogger("ridgeway.registry")

_Noun = TypeVar("_Noun", Candidate, Verdict)

_PAGE = 1000
"""Rows per page when all runs or versions are listed; MLflow's server takes up to 50,000 runs and 200,000 versions."""


class ModelFormat(Protocol):
    """How estimators become files; ``ridgeway.package`` is one."""

    def dump(self, estimator: Any, path: Path, *, trusted: Collection[str]) -> list[str]:
        """Writes ``estimator`` to ``path``; the types in it that a reader must trust."""

    def load(self, path: Path, *, trusted: Collection[str]) -> Any:
        """The estimator in the file at ``path``."""


class Registry:
    """One model's runs, candidates, verdicts and versions in MLflow.

    Constructing is free: MLflow is imported, and the database or the server opened, at the first call that needs it.
    One registry may be used by several threads, and many processes may work on one address at once.

    Args:
        uri: ``sqlite:///PATH``, relative to ``root``, or the http(s) address of an MLflow tracking server.
        name: The model's name, which is also the experiment's.
        root: The project's folder.
        models: How estimators become files; needed by ``save_candidate`` and ``load_model`` only.
        trusted: Types beyond scikit-learn, numpy and scipy that may be loaded: the setting ``training.trusted_types``.

    Every method that talks to MLflow raises:
        Unreachable: The server does not answer.
        Transient: The server answers with a fault of its own.
        Busy: Another process holds the database's lock.
        StorageError: A full disk, or a place that cannot be written.
        Permanent: No rights, a damaged database, or one of another schema.

    Example:
        >>> Registry("sqlite:///.ridgeway/mlflow.db", name="diabetes", root=Path("/projects/diabetes")).uri
        'sqlite:////projects/diabetes/.ridgeway/mlflow.db'
    """

    def __init__(
        self, uri: str, *, name: str, root: Path, models: ModelFormat | None = None, trusted: Collection[str] = ()
    ) -> None:
        self.name = name
        self._connection = Connection(uri, root)
        self._downloads = state_of(root) / "downloads"
        self._models = models
        self._trusted = tuple(trusted)
        self._experiment_id = ""

    @property
    def uri(self) -> str:
        """The full address: of the server, or of the SQLite file with its absolute path."""
        return self._connection.uri

    @property
    def is_shared(self) -> bool:
        """Whether other machines may use it: a tracking server, and no file of this one."""
        return self._connection.database is None

    def _call(self, doing: str, method: str, *arguments: Any, **keywords: Any) -> Any:
        return self._connection.call(doing, getattr(self._connection.client, method), *arguments, **keywords)

    # ---- runs --------------------------------------------------------------------------------------------------------

    def start_run(self, flow: str, tags: Mapping[str, str] | None = None) -> str:
        """The id of a new run, 32 hex digits, in state ``RUNNING``.

        Args:
            flow: The flow that runs: ``retraining``, ``release``, ``build``, or ``judge`` for one on demand.
            tags: Anything worth finding it by.
        """
        own = {records.FLOW_TAG: flow, "mlflow.runName": flow, "mlflow.source.name": f"ridgeway run {flow}"}
        run = self._call("cannot start a run", "create_run", self._experiment(), tags={**own, **(tags or {})})
        return str(run.info.run_id)

    def end_run(self, run_id: str, status: str) -> None:
        """Marks a run as ended now.

        Args:
            run_id: The run.
            status: ``FINISHED``, ``FAILED`` or ``KILLED``.

        Raises:
            UsageError: ``status`` is another word.
            NotFound: There is no such run.
        """
        if status not in records.STATUSES:
            raise UsageError(f"{status!r} is not the end of a run", expected=" or ".join(records.STATUSES))
        self._call("cannot end the run", "set_terminated", run_id, status=status)

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Adds tags to a run, or changes them."""
        make = self._connection.entities.RunTag
        self._log("cannot tag the run", run_id, tags=[make(key, str(value)) for key, value in tags.items()])

    def log_metrics(self, run_id: str, metrics: Mapping[str, float]) -> None:
        """Adds metrics to a run, stamped with the present time."""
        make, now = self._connection.entities.Metric, int(time.time() * 1000)
        self._log("cannot log metrics", run_id, metrics=[make(key, value, now, 0) for key, value in metrics.items()])

    def log_params(self, run_id: str, parameters: Mapping[str, Any]) -> None:
        """Adds parameters to a run; writing the same again changes nothing.

        Raises:
            Permanent: One of them is there with another value.
        """
        make = self._connection.entities.Param
        self._log("cannot log parameters", run_id, params=[make(key, str(value)) for key, value in parameters.items()])

    def _log(self, doing: str, run_id: str, **batch: list[Any]) -> None:
        ((kind, entries),) = batch.items()
        # MLflow takes at most 100 tags or parameters at once.
        for start in range(0, len(entries), 100):
            self._call(doing, "log_batch", run_id, **{kind: entries[start : start + 100]})

    def write_json(self, run_id: str, path: str, record: Mapping[str, Any]) -> None:
        """Keeps a JSON record with a run, with ``"schema": 1`` where it has no schema yet.

        Args:
            run_id: The run.
            path: Inside the run, such as ``verdict.json``.
            record: Numbers, texts, lists and dictionaries; NaN and infinities are written as null.
        """
        text = json.dumps(_finite({"schema": SCHEMA, **record}), indent=2, ensure_ascii=False, default=str)
        with self._workplace() as folder:
            source = Path(folder) / "record.json"
            source.write_text(text + "\n", encoding="utf-8")
            self._files(run_id).put(source, path)

    def read_json(self, run_id: str, path: str) -> dict[str, Any]:
        """The record that ``write_json`` kept.

        Raises:
            NotFound: The run has no such file.
            BadData: The file is not a JSON record.
        """
        file = self.read_file(run_id, path)
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise BadData(f"cannot read {path} of run {run_id}", where=str(file), problem=str(error)) from error
        if not isinstance(record, dict):
            raise BadData(f"cannot read {path} of run {run_id}", where=str(file), expected="a JSON object")
        return record

    def write_file(self, run_id: str, path: str, source: Path) -> None:
        """Keeps a copy of the file ``source`` with a run, at ``path``."""
        self._files(run_id).put(source, path)

    def read_file(self, run_id: str, path: str) -> Path:
        """A file or folder of a run, on this machine: the kept one itself, or a download. Not to be written to.

        Raises:
            NotFound: The run has no such file.
        """
        return self._files(run_id).get(path)

    def runs(self, limit: int = 100) -> list[Run]:
        """The latest runs of all flows, newest first, at most ``limit``."""
        found = self._search("", limit=limit)
        return [records.run_from(entity) for entity in found]

    def running(self, flow: str) -> list[Run]:
        """The runs of a flow that are under way, as far as anybody has said otherwise; newest first, at most 50."""
        condition = f"tags.`{records.FLOW_TAG}` = '{flow}' and attributes.status = 'RUNNING'"
        return [records.run_from(entity) for entity in self._search(condition, limit=50)]

    def run(self, run_id: str) -> Run:
        """The run with this full id.

        Raises:
            NotFound: There is none.
        """
        return records.run_from(self._call("cannot read the run", "get_run", run_id))

    def find_run(self, prefix: str) -> Run:
        """The only run of this model whose id starts with ``prefix``.

        Raises:
            NotFound: None or several do.
        """
        if not prefix or set(prefix) - set("0123456789abcdef"):
            raise NotFound(f"no run {prefix!r}", expected="the first hex digits of a run's id", next_step=_LIST_RUNS)
        found = list(self._search(f"attributes.run_id LIKE '{prefix}%'", limit=5))
        if len(found) == 1:
            return records.run_from(found[0])
        problem = "several start so: " + ", ".join(entity.info.run_id for entity in found) if found else ""
        raise NotFound(f"no single run {prefix!r} in {self.name}", problem=problem, next_step=_LIST_RUNS)

    # ---- candidates --------------------------------------------------------------------------------------------------

    def save_candidate(
        self,
        candidate: Candidate,
        estimator: Any,
        *,
        files: Mapping[str, Path],
        signature_frame: Any,
        example: Any = None,
    ) -> None:
        """Keeps a candidate with the run that it names: model, ``candidate.json``, files, parameters and metrics.

        The last thing written is a tag, and what has not got it is never found: a process killed in the middle leaves
        nothing that looks like a candidate, and the same call again completes it.

        Args:
            candidate: Its ``run_id`` is a run of this registry.
            estimator: Fitted, and portable.
            files: By path inside the run: predictions, identities of all rows (``training.npy``, ``sealed.npy``).
            signature_frame: Features as the estimator was trained on them; only their names and types are kept.
            example: A table of features that is nobody's record; one made-up row where it is None.

        Raises:
            ModelError: It cannot be stored without pickle, or holds types that nobody trusts.
        """
        files_of_run = self._files(candidate.run_id)
        with self._workplace() as folder:
            stored = self._write_candidate(Path(folder) / "model", estimator, signature_frame, example)
            files_of_run.put_folder(Path(folder))
        for path, source in files.items():
            files_of_run.put(source, path)
        self.write_json(candidate.run_id, "candidate.json", to_json(candidate))
        self.log_params(candidate.run_id, {"seed": candidate.seed, **candidate.parameters})
        self.log_metrics(candidate.run_id, candidate.metrics)
        self.tag_run(candidate.run_id, {**records.candidate_tags(candidate), records.MODEL_FILE_TAG: stored})
        self.tag_run(candidate.run_id, {records.CANDIDATE_TAG: records.COMPLETE})

    def _write_candidate(self, folder: Path, estimator: Any, frame: Any, example: Any) -> str:
        """Writes the MLflow model folder; the digest of the model file in it."""
        from ridgeway.registry import model_folder

        draft = folder.with_suffix(".skops")
        needed = self._format().dump(estimator, draft, trusted=self._trusted)
        example = model_folder.typical_row(frame) if example is None else example
        shown = model_folder.Shown(frame, example, estimator.predict(example))
        with self._connection.errors("cannot write the model"):
            model_folder.write_model_folder(draft, folder, shown, trusted=needed)
            return file_digest(folder / model_folder.MODEL_FILE)

    def _format(self) -> ModelFormat:
        if self._models is None:
            raise TypeError("a Registry that stores or loads models needs models=ridgeway.package")
        return self._models

    def find_candidate(self, inputs_digest: str) -> Candidate | None:
        """The latest whole candidate made from these inputs, or None: then training is needed."""
        condition = _all_equal({records.INPUTS_TAG: inputs_digest, records.CANDIDATE_TAG: records.COMPLETE})
        for entity in self._search(condition, limit=20):
            try:
                return self._candidate(entity.info.run_id)
            except NotFound:
                log.warning("run %s has lost its files; its candidate is passed over", entity.info.run_id)
        return None

    def candidate(self, run_id: str) -> Candidate:
        """The candidate that a run holds.

        Raises:
            NotFound: There is no such run, or it holds no whole candidate.
        """
        if self.run(run_id).tags.get(records.CANDIDATE_TAG) != records.COMPLETE:
            raise NotFound(f"run {run_id} holds no candidate", next_step=_LIST_RUNS)
        return self._candidate(run_id)

    def _candidate(self, run_id: str) -> Candidate:
        return self._noun(run_id, "candidate.json", Candidate)

    def load_model(self, run_id: str) -> Any:
        """The estimator that a run holds, loaded without pickle, from the file that was stored and from trusted types.

        Raises:
            NotFound: The run holds no whole candidate.
            ModelError: The file is not the one that was stored, or holds types that nobody trusts.
        """
        tags = self.run(run_id).tags
        if tags.get(records.CANDIDATE_TAG) != records.COMPLETE:
            raise NotFound(f"run {run_id} holds no model", next_step=_LIST_RUNS)
        file = self.read_file(run_id, "model/model.skops")
        with self._connection.errors("cannot read the model"):
            found = file_digest(file)
        if found != tags.get(records.MODEL_FILE_TAG):
            raise ModelError(
                f"the model of run {run_id} was altered after it was stored",
                where=str(file),
                problem=found,
                expected=tags.get(records.MODEL_FILE_TAG, ""),
                next_step="train it again: ridgeway run retraining",
            )
        return self._format().load(file, trusted=self._trusted)

    # ---- verdicts ----------------------------------------------------------------------------------------------------

    def save_verdict(self, run_id: str, verdict: Verdict) -> None:
        """Keeps a verdict with the run that reached it; that is one look at the holdout. A run holds one verdict.

        The same verdict saved again changes nothing.
        """
        self.write_json(run_id, "verdict.json", to_json(verdict))
        self.tag_run(run_id, records.verdict_tags(verdict))
        self.tag_run(run_id, {records.JUDGED_TAG: verdict.outcome})

    def verdict(self, run_id: str) -> Verdict | None:
        """The verdict that a run holds, or None.

        Raises:
            NotFound: There is no such run.
        """
        return self._verdict(run_id) if records.JUDGED_TAG in self.run(run_id).tags else None

    def _verdict(self, run_id: str) -> Verdict:
        return self._noun(run_id, "verdict.json", Verdict)

    def _noun(self, run_id: str, path: str, kind: type[_Noun]) -> _Noun:
        noun = from_json(self.read_json(run_id, path))
        if isinstance(noun, kind):
            return noun
        raise BadData(f"cannot read {path} of run {run_id}", expected=f"a record of kind {kind.__name__}")

    def find_verdict(
        self, candidate_digest: str, opponent_digest: str, key_digest: str, *, holdout: str, policy: str
    ) -> Verdict | None:
        """The first verdict that a flow of the project reached on just this question, or None if there was none.

        Judgements on demand are passed over: whoever asks for one chooses its settings.

        Args:
            candidate_digest: The candidate.
            opponent_digest: Whom it met; ``mean`` for the training mean.
            key_digest: The rule that sealed the rows.
            holdout: Digest of the sealed rows: ``Verdict.holdout``.
            policy: Digest of the settings that decide: ``Verdict.policy``.
        """
        wanted = {
            records.JUDGED_CANDIDATE_TAG: candidate_digest,
            records.JUDGED_OPPONENT_TAG: opponent_digest,
            records.JUDGED_KEY_TAG: key_digest,
            records.JUDGED_HOLDOUT_TAG: holdout,
            records.JUDGED_POLICY_TAG: policy,
        }
        return self._first_verdict(wanted)

    def find_admission(self, version: ModelVersion) -> Verdict | None:
        """The verdict that let a version in; None for a version that Ridgeway did not register.

        That of the run which registered it. Where a process was killed between judging and registering, another run
        registered what the first one had judged: then the first accepting one. Where both are gone, what the version's
        tags tell of it.
        """
        own = self._verdict_at(version.tags.get(records.REGISTERED_BY_TAG, ""))
        if own is not None and own.accepted and own.candidate_digest == version.digest:
            return own
        wanted = {
            records.JUDGED_CANDIDATE_TAG: version.digest,
            records.JUDGED_OPPONENT_TAG: version.tags.get("ridgeway.verdict.opponent_digest", ""),
            records.JUDGED_KEY_TAG: version.tags.get("ridgeway.key", ""),
            records.JUDGED_TAG: "accept",
        }
        return self._first_verdict(wanted) or records.verdict_from_tags(version)

    def _verdict_at(self, run_id: str) -> Verdict | None:
        """The verdict that a run holds; None too where the run or its files are gone."""
        try:
            return self.verdict(run_id) if run_id else None
        except NotFound:
            return None

    def _first_verdict(self, wanted: Mapping[str, str]) -> Verdict | None:
        not_on_demand = f"tags.`{records.FLOW_TAG}` != '{records.ON_DEMAND}'"
        for entity in self._search(f"{_all_equal(wanted)} and {not_on_demand}", order="ASC"):
            if records.JUDGED_TAG in entity.data.tags:
                return self._verdict(entity.info.run_id)
        return None

    def looks(self, key_digest: str) -> int:
        """How many judgements on this holdout are kept, on demand or not: each look wears the holdout a little."""
        found = self._search(_all_equal({records.JUDGED_KEY_TAG: key_digest}))
        return sum(records.JUDGED_TAG in entity.data.tags for entity in found)

    # ---- versions ----------------------------------------------------------------------------------------------------

    def register(self, candidate: Candidate, verdict: Verdict, *, tags: Mapping[str, str]) -> ModelVersion:
        """The model version of ``candidate``: the one it has, or a new one with the alias ``challenger``.

        Many processes may register at once, and each may be killed anywhere: one candidate never has two versions. All
        tags are written in the call that creates the version. Of two versions of one digest the lower number is the
        one, which every process sees alike, and the other is removed. A last tag marks the registration as whole.

        Args:
            candidate: A whole one of this registry.
            verdict: On this candidate, accepting.
            tags: What only the caller knows: commit, clean tree, environment digest, settings, build.

        Raises:
            Permanent: The verdict does not let this candidate in.
            UsageError: ``tags`` has a name that is ours.
            NotFound: The run holds no such candidate.
        """
        records.check_accepted(candidate, verdict)
        all_tags = records.version_tags(candidate, verdict, tags)
        done = self.find_version(candidate.digest)
        if done is not None and COMPLETE_TAG in done.tags:
            return done
        if self.candidate(candidate.run_id).digest != candidate.digest:
            raise NotFound(f"run {candidate.run_id} holds another candidate than {candidate.digest}")
        number = self._settle(candidate.digest) or self._create(candidate, all_tags)
        self.set_alias("challenger", number)
        self._call("cannot complete the version", "set_model_version_tag", self.name, str(number), COMPLETE_TAG, "1")
        self._raise_challenger()
        log.info("registered models:/%s/%s", self.name, number)
        return self.version(number)

    def _create(self, candidate: Candidate, tags: dict[str, str]) -> int:
        self._create_model()
        run = self._call("cannot read the run", "get_run", candidate.run_id)
        self._call(
            "cannot register the model",
            "create_model_version",
            self.name,
            f"{run.info.artifact_uri}/model",
            candidate.run_id,
            tags=tags,
            await_creation_for=None,
        )
        return self._settle(candidate.digest)

    def _create_model(self) -> None:
        try:
            self._call("cannot register the model", "create_registered_model", self.name)
        except RidgewayError as error:
            if "already exists" not in error.problem.lower():
                raise

    def _settle(self, digest: str) -> int:
        """The one version of this digest, all later ones removed; 0 if there is none."""
        numbers = sorted(int(entity.version) for entity in self._entities() if entity.tags.get(DIGEST_TAG) == digest)
        for number in numbers[1:]:
            try:
                self._call("cannot remove a double version", "delete_model_version", self.name, str(number))
            except NotFound:
                log.debug("version %s was removed by its own process", number)
        return numbers[0] if numbers else 0

    def _raise_challenger(self) -> None:
        """Puts the alias on the highest complete version: a slower process may have put it on a lower one."""
        highest = max((version.number for version in self.versions()), default=0)
        if int(self._aliases().get("challenger", "0")) < highest:
            self.set_alias("challenger", highest)

    def set_alias(self, alias: str, number: int) -> None:
        """Moves ``alias`` to the version ``number``.

        Raises:
            NotFound: There is no such version.
        """
        self._call(f"cannot set the alias {alias}", "set_registered_model_alias", self.name, alias, str(number))

    def delete_alias(self, alias: str) -> None:
        """Takes ``alias`` from whatever version has it."""
        if alias in self._aliases():
            self._call(f"cannot delete the alias {alias}", "delete_registered_model_alias", self.name, alias)

    def version(self, number: int) -> ModelVersion:
        """The version ``number``, whoever registered it.

        Raises:
            NotFound: There is none.
        """
        entity = self._call("cannot read the version", "get_model_version", self.name, str(number))
        return records.version_from(entity, self._aliases())

    def versions(self) -> list[ModelVersion]:
        """All versions that Ridgeway registered, by rising number; half-registered ones are not among them."""
        return [version for version in self.all_versions() if records.is_complete(version)]

    def all_versions(self) -> list[ModelVersion]:
        """Every version in MLflow by rising number, also half-registered ones and those that others registered."""
        aliases = self._aliases()
        found = [records.version_from(entity, aliases) for entity in self._entities()]
        return sorted(found, key=lambda version: version.number)

    def by_alias(self, alias: str) -> ModelVersion | None:
        """The version that has ``alias``, or None; None too while nothing is registered."""
        number = self._aliases().get(alias)
        return None if number is None else self.version(int(number))

    def find_version(self, digest: str) -> ModelVersion | None:
        """The version of the candidate with this digest, or None."""
        return next((version for version in self.versions() if version.digest == digest), None)

    # ---- what the methods above stand on -----------------------------------------------------------------------------

    def _experiment(self) -> str:
        """The id of this model's experiment, made at first use."""
        if not self._experiment_id:
            self._experiment_id = self._find_experiment() or self._create_experiment()
        return self._experiment_id

    def _find_experiment(self) -> str:
        found = self._call("cannot read the experiment", "get_experiment_by_name", self.name)
        if found is not None and found.lifecycle_stage != "active":
            raise Permanent(
                f"the experiment {self.name} was deleted",
                where=self.uri,
                next_step=f"mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id) if found is not None else ""

    def _create_experiment(self) -> str:
        # A server knows best where it keeps files; over SQLite they go where a later server will look.
        where = {} if self._connection.database is None else {"artifact_location": experiment_location(self.name)}
        try:
            return str(self._call("cannot make the experiment", "create_experiment", self.name, **where))
        except RidgewayError:
            # Another process may have been first.
            if found := self._find_experiment():
                return found
            raise

    def _search(self, condition: str, *, limit: int | None = None, order: str = "DESC") -> Iterator[Any]:
        """MLflow's runs of this model that fulfil ``condition``, by time of start."""
        experiment, page, left = self._experiment_id or self._find_experiment(), None, limit
        while experiment and (left is None or left > 0):
            size = _PAGE if left is None else min(left, _PAGE)
            batch = self._call(
                "cannot search the runs",
                "search_runs",
                [experiment],
                filter_string=condition,
                max_results=size,
                order_by=[f"attributes.start_time {order}", "attributes.run_id"],
                page_token=page,
            )
            yield from batch
            page, left = batch.token, None if left is None else left - len(batch)
            if not page:
                return

    def _entities(self) -> list[Any]:
        """MLflow's records of all versions of this model."""
        found: list[Any] = []
        page = None
        while True:
            condition = "name='" + self.name.replace("'", "''") + "'"
            batch = self._call(
                "cannot search the versions",
                "search_model_versions",
                condition,
                max_results=_PAGE,
                page_token=page,
            )
            found.extend(batch)
            page = batch.token
            if not page:
                return found

    def _aliases(self) -> dict[str, str]:
        """Version by alias; empty while nothing is registered."""
        try:
            return dict(self._call("cannot read the model", "get_registered_model", self.name).aliases)
        except NotFound:
            return {}

    def _files(self, run_id: str) -> RunFiles:
        run = self._call("cannot read the run", "get_run", run_id)
        return RunFiles(self._connection, run_id, run.info.artifact_uri, self._downloads)

    def _workplace(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="ridgeway-")


_LIST_RUNS = "ridgeway list runs"


def _all_equal(tags: Mapping[str, str]) -> str:
    """MLflow's search condition for runs that have all these tags."""
    return " and ".join("tags.`{}` = '{}'".format(tag, value.replace("'", "''")) for tag, value in tags.items())


def file_digest(path: Path) -> str:
    """``sha256:`` and 64 hex digits over the bytes of a file."""
    with path.open("rb") as handle:
        return "sha256:" + hashlib.file_digest(handle, "sha256").hexdigest()


def _finite(value: Any) -> Any:
    """``value`` with null for NaN and infinities, which JSON does not know."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
