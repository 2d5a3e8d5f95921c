"""A pipeline from its files: templates expanded, every key known, every name there."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping as Map
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from ridgeway.ci.azure.document import Mapping, Node, Scalar, Sequence, read
from ridgeway.ci.azure.fields import (
    Fields,
    boolean,
    fields,
    flexible_boolean,
    identifier,
    number,
    scalar,
    text,
    texts,
)
from ridgeway.ci.azure.functions import as_json
from ridgeway.ci.azure.graph import check_jobs, check_stages
from ridgeway.ci.azure.inputs import Inputs, early
from ridgeway.ci.azure.parameters import SCALARS, Parameter, bind, declared
from ridgeway.ci.azure.pipeline import (
    HOOKS,
    IMPLICIT_JOB,
    IMPLICIT_STAGE,
    Environment,
    Hook,
    Job,
    Pipeline,
    Pool,
    Stage,
    Upstream,
    Variable,
)
from ridgeway.ci.azure.problems import Place, Warned, did_you_mean, refuse, unsupported
from ridgeway.ci.azure.read_matrix import copies
from ridgeway.ci.azure.read_steps import condition, implicit, read_steps
from ridgeway.ci.azure.read_triggers import read_pull_request, read_resources, read_schedules, read_trigger
from ridgeway.ci.azure.templates import Entry, Flat, Frame, Session, entries, extended, listed, resolved
from ridgeway.ci.azure.values import Members

_ROOT: Final = ("name", "trigger", "pr", "schedules", "resources", "parameters", "variables", "pool", "stages", "jobs",
                "steps", "lockBehavior", "appendCommitMessageToRunName", "workspace", "continueOnError",
                "timeoutInMinutes", "cancelTimeoutInMinutes", "extends", "strategy")  # fmt: skip
_ROOT_FOREIGN: Final = {
    "container": "a container job",
    "services": "service containers",
    "target": "a target",
    "phases": "phases, the old name of jobs,",
    "queue": "a queue, the old name of pool,",
}
_OF_THE_FILE: Final = ("name", "trigger", "pr", "schedules", "appendCommitMessageToRunName")
_EXTENDED: Final = tuple(key for key in _ROOT if key not in _OF_THE_FILE)
_EXTENDED_FOREIGN: Final = {
    **_ROOT_FOREIGN,
    **{key: f"{key} in a template that is extended" for key in _OF_THE_FILE},
}
_OF_JOBS: Final = ("stages", "jobs", "steps", "pool", "strategy", "workspace", "continueOnError", "timeoutInMinutes",
                   "cancelTimeoutInMinutes")  # fmt: skip
_STAGE: Final = ("stage", "displayName", "pool", "dependsOn", "condition", "variables", "jobs", "lockBehavior",
                 "templateContext")  # fmt: skip
_STAGE_FOREIGN: Final = {
    "trigger": "a stage that is started by hand (trigger)",
    "isSkippable": "isSkippable",
}
_JOB: Final = ("job", "deployment", "displayName", "dependsOn", "condition", "continueOnError", "timeoutInMinutes",
               "cancelTimeoutInMinutes", "variables", "pool", "workspace", "steps", "environment",
               "strategy", "templateContext")  # fmt: skip
_JOB_FOREIGN: Final = {
    "container": "a container job",
    "services": "service containers",
    "uses": "uses",
    "queue": "a queue, the old name of pool,",
}


@dataclass(frozen=True)
class Read:
    """A pipeline and what was noticed while reading it."""

    pipeline: Pipeline
    warnings: tuple[Warned, ...]


def read_pipeline(file: str, inputs: Inputs, files: Map[str, str]) -> Read:
    """A pipeline with its templates expanded.

    Args:
        file: Path of its file from the repository's root.
        inputs: What is known of the run; parameters, branch and reason decide what the templates become.
        files: Texts by path.

    Raises:
        PipelineError: Something in a file is wrong; the message says where.
        Unsupported: A feature outside the grammar is used.
    """
    session = Session(files)
    root = session.load(file, Place(file, 1, 1))
    if not isinstance(root, Mapping):
        raise refuse(Place(file, 1, 1), f"{file} is no pipeline", problem="it is empty, or no mapping")
    frame = Frame(session, {"parameters": Members(), "variables": early(inputs)}, (file,))
    parameters = declared(root.get("parameters"))
    values = bind(parameters, _given(parameters, inputs), at=Place(file, 1, 1), owner=file)
    frame = frame.with_name("parameters", values)
    found = fields(entries(root, frame), "a pipeline", _ROOT, _ROOT_FOREIGN)
    found, variables = _variables(found, "pipeline")
    body = _extended(_Body(root, found, variables, _upstream(found)))
    pipeline = Pipeline(
        file=file,
        name=text(found, "name"),
        parameters=tuple((name, as_json(value)) for name, value in values.items()),
        trigger=read_trigger(found["trigger"]) if "trigger" in found else None,
        pull_request=read_pull_request(found["pr"]) if "pr" in found else None,
        schedules=read_schedules(found["schedules"]) if "schedules" in found else (),
        upstream=body.upstream,
        variables=body.variables,
        stages=_stages(body.root, body.found),
    )
    made = replace(pipeline, files=tuple(session.documents))
    return Read(made, tuple(session.warnings))


class _Body(NamedTuple):
    """Where the stages, jobs or steps of a pipeline stand: in its own file, or in the template that it extends."""

    root: Mapping
    found: Fields
    variables: tuple[Variable, ...]
    upstream: tuple[Upstream, ...]


def _upstream(found: Fields) -> tuple[Upstream, ...]:
    return read_resources(found["resources"]) if "resources" in found else ()


def _extended(body: _Body) -> _Body:
    """What a pipeline becomes by ``extends``: the template's content, with the variables and resources of both."""
    if "extends" not in body.found:
        return body
    for key in _OF_JOBS:
        if key in body.found:
            expected = "extends with a template alone"
            raise refuse(body.found[key].key.place, f"a pipeline that extends has no {key}", expected=expected)
    root, flat = extended(body.found["extends"])
    found = fields(flat, "a template that is extended", _EXTENDED, _EXTENDED_FOREIGN)
    found, variables = _variables(found, "pipeline")
    names = {variable.name.lower() for variable in body.variables if not variable.group}
    for variable in variables:
        if variable.name.lower() in names and not variable.group:
            raise unsupported(variable.place, f"a variable of the pipeline and of its template ({variable.name})")
    return _extended(_Body(root, found, (*body.variables, *variables), (*body.upstream, *_upstream(found))))


def _given(parameters: Map[str, Parameter], inputs: Inputs) -> dict[str, Node]:
    """The values of the command line as nodes; structured ones are YAML."""
    given: dict[str, Node] = {}
    for name, value in inputs.parameters.items():
        source = read(f"'{value.replace(chr(39), chr(39) * 2)}'" if "\n" not in value else "''", f"-p {name}")
        assert isinstance(source, Scalar)
        parameter = next((known for known in parameters.values() if known.name.lower() == name.lower()), None)
        plain = parameter is None or parameter.type in SCALARS
        node = source.with_text(value) if plain else read(value, f"-p {name}")
        given[name] = node if node is not None else source.with_text("")
    return given


def _variables(found: Fields, origin: str) -> tuple[Fields, tuple[Variable, ...]]:
    """The variables of a scope, and its fields with expressions that see them."""
    if "variables" not in found:
        return found, ()
    entry = found["variables"]
    view = entry.frame.names["variables"].copy()
    made: list[Variable] = []
    for variable in _read_variables(entry.value, entry.frame.with_name("variables", view), origin):
        made.append(variable)
        if not variable.group:
            view[variable.name] = variable.value
    seeing = {key: other._replace(frame=other.frame.with_name("variables", view)) for key, other in found.items()}
    return seeing, tuple(made)


def _read_variables(node: Node, frame: Frame, origin: str) -> Iterator[Variable]:
    if isinstance(node, Scalar):
        node = resolved(node, frame)
    if isinstance(node, Sequence):
        for flat, _ in listed(node, frame, "variables"):
            yield _listed_variable(flat, origin)
        return
    for entry in _growing(node, frame):
        value = scalar(entry, "a variable's value")
        yield Variable(entry.key.text, value.text, origin, entry.key.place, scalar=value)


def _growing(node: Node, frame: Frame) -> Iterator[Entry]:
    """The entries one by one, so that each expression sees the variables before it."""
    if not isinstance(node, Mapping) or isinstance(node, Flat):
        yield from entries(node, frame)
        return
    plain: list[tuple[Scalar, Node]] = []
    for key, value in node.entries:
        if "${{" in key.text and not key.closed:
            yield from entries(node, frame)
            return
        plain.append((key, value))
    for key, value in plain:
        yield Entry(key, value, frame)


def _listed_variable(flat: Flat, origin: str) -> Variable:
    found = fields(flat.flat, "a variable", ("name", "value", "readonly", "group"))
    if "group" in found:
        if len(found) > 1:
            raise refuse(flat.place, "a group has no other fields", problem=", ".join(found))
        return Variable(text(found, "group"), "", origin, flat.place, group=True)
    if not text(found, "name"):
        raise refuse(flat.place, "a variable needs a name", problem="name is missing or empty", expected="- name: …")
    value = scalar(found["value"]) if "value" in found else None
    readonly = boolean(found, "readonly")
    written = value.text if value else ""
    return Variable(text(found, "name"), written, origin, flat.place, readonly=readonly, scalar=value)


def _stages(root: Mapping, found: Fields) -> tuple[Stage, ...]:
    bodies = [key for key in ("stages", "jobs", "steps") if key in found]
    if len(bodies) != 1:
        problem = " and ".join(bodies) or "there is none of them"
        raise refuse(root.place, "a pipeline has stages, or jobs, or steps", problem=problem)
    pool = _pool(found)
    if bodies != ["steps"]:
        for key in ("strategy", "workspace", "continueOnError", "timeoutInMinutes", "cancelTimeoutInMinutes"):
            if key in found:
                raise refuse(
                    found[key].key.place, f"a pipeline with {bodies[0]} has no {key}", expected="a job's field"
                )
    if bodies == ["stages"]:
        stages = _listed_stages(found["stages"], pool)
    else:
        jobs = _jobs(found["jobs"], pool) if bodies == ["jobs"] else _implicit_job(found, root.place, pool)
        check_jobs(jobs)
        stages = (Stage(IMPLICIT_STAGE, "", root.place, jobs=jobs, pool=pool),)
    if not stages:
        raise refuse(root.place, "a pipeline needs at least one stage", problem=f"{bodies[0]} is empty")
    check_stages(stages)
    return stages


def _implicit_job(found: Fields, at: Place, pool: Pool | None) -> tuple[Job, ...]:
    hook = _hook(found["steps"], "", at, checkout=_on_agent(pool))
    made = replace(_job_settings(found, IMPLICIT_JOB, at), pool=pool, hooks=(hook,))
    return copies(found["strategy"], made) if "strategy" in found else (made,)


def _listed_stages(entry: Entry, pool: Pool | None) -> tuple[Stage, ...]:
    made: list[Stage] = []
    for flat, _ in listed(entry.value, entry.frame, "stages"):
        previous = made[-1].name if made else ""
        made.append(_stage(flat, f"Stage{len(made) + 1}", previous, pool))
    return tuple(made)


def _stage(flat: Flat, default: str, previous: str, pool: Pool | None) -> Stage:
    _check_first(flat, ("stage",), "stages")
    found = fields(flat.flat, "a stage", _STAGE, _STAGE_FOREIGN)
    name = identifier(scalar(found["stage"]), "a stage") if text(found, "stage") else default
    found, variables = _variables(found, f"stage {name}")
    depends = _depends(found) if "dependsOn" in found else tuple([previous] if previous else [])
    if previous and "dependsOn" in found and not depends and not isinstance(found["dependsOn"].value, Sequence):
        _check_nothing(found["dependsOn"])
    own = _pool(found) or pool
    lock = text(found, "lockBehavior")
    if lock not in {"", "sequential", "runLatest"}:
        raise refuse(scalar(found["lockBehavior"]).place, "lockBehavior is sequential or runLatest", problem=lock)
    jobs = _jobs(found["jobs"], own) if "jobs" in found else ()
    display = text(found, "displayName")
    return Stage(name, display, flat.place, depends, condition(found), variables, jobs, own, lock)


def _check_nothing(entry: Entry) -> None:
    """Refuses an empty text in a stage's dependsOn: no page says what that means."""
    node = resolved(entry.value, entry.frame) if isinstance(entry.value, Scalar) else entry.value
    if isinstance(node, Scalar):
        raise unsupported(entry.value.place, "an empty text in dependsOn of a stage", instead="dependsOn: []")


def _check_first(flat: Flat, words: tuple[str, ...], section: str) -> None:
    keys = [entry.key.text for entry in flat.flat]
    if keys and keys[0] in words:
        return
    word = next((key for key in keys if key in words), "")
    if word:
        problem = f"{word} comes after {keys[0]}"
        raise refuse(flat.place, f"{word} must be the first key", problem=problem, expected=f"- {word}: …")
    expected = " or ".join([*words, "template"])
    problem = f"it begins with {keys[0]}" if keys else "it is empty"
    hint = did_you_mean(keys[0], [*words, "template"]) if keys else ""
    expected = hint if hint.startswith("did") else expected
    raise refuse(flat.place, f"an item of {section} needs {' or '.join(words)}", problem=problem, expected=expected)


def _depends(found: Fields) -> tuple[str, ...]:
    if "dependsOn" not in found:
        return ()
    return tuple(dict.fromkeys(part.text for part in texts(found["dependsOn"])))


def _jobs(entry: Entry, pool: Pool | None) -> tuple[Job, ...]:
    made: list[Job] = []
    for place, (flat, _) in enumerate(listed(entry.value, entry.frame, "jobs"), 1):
        made += _job(flat, f"Job{place}", pool)
    after = tuple(replace(job, depends_on=_copies_of(job.depends_on, made)) for job in made)
    check_jobs(after)
    return after


def _copies_of(names: tuple[str, ...], jobs: list[Job]) -> tuple[str, ...]:
    """The jobs of the names in ``dependsOn``: where a matrix made copies, all of them."""
    copies = {
        name.lower(): [job.name for job in jobs if job.leg and job.written.lower() == name.lower()] for name in names
    }
    return tuple(copy for name in names for copy in copies[name.lower()] or [name])


def _job(flat: Flat, default: str, pool: Pool | None) -> tuple[Job, ...]:
    _check_first(flat, ("job", "deployment"), "jobs")
    word = flat.flat[0].key.text
    found = fields(flat.flat, f"a {word}", _JOB, _JOB_FOREIGN)
    _check_kind(found, word)
    name = identifier(scalar(found[word]), f"a {word}") if text(found, word) else default
    if word == "deployment" and name.lower() == "deploy":
        problem = "deploy is a keyword there"
        raise refuse(found[word].value.place, "a deployment cannot be called deploy", problem=problem)
    found, variables = _variables(found, f"job {name}")
    made = replace(_job_settings(found, name, flat.place), variables=variables, pool=_pool(found) or pool)
    if word == "deployment":
        made = replace(made, deployment=True, environment=_environment(found, flat))
        return (replace(made, hooks=tuple(_without_agent(hook, made.pool) for hook in _strategy(found, flat))),)
    steps = found.get("steps")
    made = replace(made, hooks=(_hook(steps, "", flat.place, checkout=_on_agent(made.pool)),) if steps else ())
    return copies(found["strategy"], made) if "strategy" in found else (made,)


def _check_kind(found: Fields, word: str) -> None:
    if word == "deployment" and "steps" in found:
        expected = "strategy: runOnce: deploy: steps:"
        raise refuse(found["steps"].key.place, "a deployment has no steps of its own", expected=expected)
    if word == "job" and "environment" in found:
        raise refuse(found["environment"].key.place, "a job has no environment", expected="a deployment")
    if (word == "job" and "deployment" in found) or (word == "deployment" and "job" in found):
        raise refuse(found[word].key.place, "a job is either job or deployment", problem="it has both")


def _job_settings(found: Fields, name: str, at: Place) -> Job:
    clean = ""
    if "workspace" in found:
        inner = fields(entries(found["workspace"].value, found["workspace"].frame), "workspace", ("clean",))
        clean = text(inner, "clean")
        if clean not in {"", "outputs", "resources", "all"}:
            raise refuse(inner["clean"].value.place, "clean is outputs, resources or all", problem=clean)
    return Job(
        name=name,
        display=text(found, "displayName"),
        place=at,
        depends_on=_depends(found),
        condition=condition(found),
        continue_on_error=flexible_boolean(found, "continueOnError"),
        timeout_minutes=number(found, "timeoutInMinutes", 60),
        cancel_timeout_minutes=number(found, "cancelTimeoutInMinutes", 5),
        workspace=clean,
    )


def _pool(found: Fields) -> Pool | None:
    if "pool" not in found:
        return None
    entry = found["pool"]
    node = resolved(entry.value, entry.frame) if isinstance(entry.value, Scalar) else entry.value
    if isinstance(node, Scalar):
        return Pool(name=node.text) if node.text else None
    inner = fields(entries(node, entry.frame), "a pool", ("name", "vmImage", "demands"))
    demands = tuple(part.text for part in texts(inner["demands"])) if "demands" in inner else ()
    return Pool(text(inner, "name"), text(inner, "vmImage"), demands)


def _on_agent(pool: Pool | None) -> bool:
    """Whether a job has an agent: jobs of the pool ``server`` have none, and so nothing is checked out."""
    return pool is None or pool.name.lower() != "server"


def _without_agent(hook: Hook, pool: Pool | None) -> Hook:
    """A part of a deployment's life as it is without an agent: nothing is downloaded of itself."""
    if _on_agent(hook.pool or pool):
        return hook
    return replace(hook, steps=tuple(step for step in hook.steps if not step.implicit))


def _environment(found: Fields, flat: Flat) -> Environment | None:
    if "environment" not in found:
        return None
    entry = found["environment"]
    node = resolved(entry.value, entry.frame) if isinstance(entry.value, Scalar) else entry.value
    if isinstance(node, Scalar):
        name, _, resource = node.text.partition(".")
        return Environment(name, resource)
    inner = fields(entries(node, entry.frame), "an environment", ("name", "resourceName", "resourceType", "tags"))
    if not text(inner, "name"):
        raise refuse(flat.place, "an environment needs a name", problem="name is missing or empty")
    if text(inner, "resourceType").lower() == "virtualmachine" and not text(inner, "resourceName"):
        raise unsupported(inner["resourceType"].key.place, "a deployment to all virtual machines of an environment")
    tags = ",".join(part.text for part in texts(inner["tags"])) if "tags" in inner else ""
    return Environment(text(inner, "name"), text(inner, "resourceName"), text(inner, "resourceType"), tags)


def _strategy(found: Fields, flat: Flat) -> tuple[Hook, ...]:
    if "strategy" not in found:
        raise refuse(flat.place, "a deployment needs a strategy", expected="strategy: runOnce: deploy: steps:")
    foreign = {"rolling": "the rolling strategy", "canary": "the canary strategy"}
    entry = found["strategy"]
    strategy = fields(entries(entry.value, entry.frame), "a strategy", ("runOnce",), foreign)
    if "runOnce" not in strategy:
        raise refuse(entry.value.place, "a strategy needs runOnce", expected="runOnce: deploy: steps:")
    once = fields(entries(strategy["runOnce"].value, strategy["runOnce"].frame), "runOnce", (*HOOKS, "on"))
    if "deploy" not in once:
        raise refuse(strategy["runOnce"].value.place, "runOnce needs deploy", expected="deploy: steps:")
    parts: list[tuple[str, Entry]] = [(name, once[name]) for name in HOOKS if name in once]
    if "on" in once:
        ends = fields(entries(once["on"].value, once["on"].frame), "on", ("failure", "success"))
        parts += [(f"on.{name}", ends[name]) for name in ("failure", "success") if name in ends]
    made: list[Hook] = []
    for name, part in parts:
        made.append(_deployment_hook(name, part, sum(not step.implicit for hook in made for step in hook.steps) + 1))
    return tuple(made)


def _deployment_hook(name: str, entry: Entry, first: int) -> Hook:
    inner = fields(entries(entry.value, entry.frame), name, ("steps", "pool"))
    hook = Hook(name, ()) if "steps" not in inner else _hook(inner["steps"], name, entry.key.place, first=first)
    return replace(hook, pool=_pool(inner))


def _hook(entry: Entry, name: str, at: Place, *, first: int = 1, checkout: bool = False) -> Hook:
    """The steps of a list, with those that nobody writes: the checkout of jobs, the download of deploy hooks."""
    steps = list(read_steps(entry, first))
    if checkout and not any(step.kind == "checkout" for step in steps):
        steps.insert(0, implicit("checkout", "self", at))
    if name == "deploy" and not any(step.kind == "download" for step in steps):
        steps.insert(0, implicit("download", "current", at))
    return Hook(name, tuple(steps))
