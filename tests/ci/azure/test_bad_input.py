"""What is refused, and what the message says: the place, what was found, and what was probably meant."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import pytest
import yaml

from ridgeway.ci.azure import Inputs, PipelineError, StepOutcome, Unsupported, plan, plan_text, simulate, templates
from ridgeway.errors import UsageError

FILE = "azure-pipelines.yml"
STEPS = "steps: [{script: a}]"


def refused(text: str, inputs: Inputs | None = None, **files: str) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        plan(FILE, inputs or Inputs(), {FILE: text, **{f"{name}.yml": value for name, value in files.items()}})
    assert caught.value.exit_code == 2
    return caught.value


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("a: [1", "2:1", "did not find expected ',' or ']'"),
        ("steps:\n\t- script: a", "2:1", "a tab character"),
        ("steps:\n- script: a\n - script: b", "3:2", "not a YAML file"),
        ("steps: \x00", "1:8", "a character that YAML forbids"),
        ("steps: '\ud800'", "1:9", "half of a character"),
        ("steps: []\n---\nsteps: []", "2:1", "more than one YAML document"),
        ("steps: []\nsteps: []", "2:1", f"it is already at {FILE}:1:1"),
        ("steps:\u2028\r\na: [1", "4:1", "did not find expected ',' or ']'"),
        ("", "1:1", "it is empty, or no mapping"),
        ("steps: ${{ 1 }}", "1:8", "a list is needed here"),
        ("steps: [{script: '${{ parameters }} x'}]", "1:23", "Object within a text"),
        ("steps:\n- ${{ each x in 'a' }}:\n  - script: a", "2:3", "each goes through lists and mappings"),
        ("steps:\n- ${{ if eq(1) }}:\n  - script: a", "2:10", "eq got 1 arguments"),
        ("steps:\n- ${{ if true :\n  - script: a", "2:3", "a directive is not closed"),
        ("steps:\n- template: a.yml\n  parametres: {}", "3:3", "did you mean parameters?"),
        ("steps:\n- template:", "2:12", "template needs a path"),
        ("variables: {'${{ parameters }}': a}\nsteps: []", "1:13", "a key must be a text"),
        ("variables: {a: 1, '${{ insert }}': {a: 2}}\nsteps: []", "1:37", f"it is already at {FILE}:1:13"),
        ("variables: [{group: a, value: b}]\nsteps: []", "1:13", "a group has no other fields"),
        ("variables: [{value: b}]\nsteps: []", "1:13", "a variable needs a name"),
        ("variables: {a: '$[ eq(1) ]'}\nsteps: []", "1:20", "eq got 1 arguments"),
        ("stages: [{stage: A, lockBehavior: never}]", "1:35", "sequential or runLatest"),
        ("jobs: [{job: A, environment: e}]", "1:17", "a job has no environment"),
        ("jobs: [{deployment: A, environment: {}, strategy: {runOnce: {deploy: {}}}}]", "1:8", "needs a name"),
        ("jobs: [{job: A, strategy: {matrix: {x/y: {}}}}]", "1:37", "a copy cannot be called 'x/y'"),
        ("jobs: [{job: A, strategy: {maxParallel: 1}}]", "1:27", "a job's strategy needs matrix"),
        ("jobs: [{job: A, strategy: {matrix: {x: {}}}}, {job: a}]", "1:47", "two jobs are called a"),
        ("stages: []\nstrategy: {}", "2:1", "a pipeline with stages has no strategy"),
        ("extends: {template: a.yml}\nsteps: []", "2:1", "a pipeline that extends has no steps"),
        ("extends: {parameters: {}}", "1:10", "template is missing"),
        ("extends: {template: a.yml}", "1:10", "there is no file a.yml"),
        ("resources: {repositories: [{name: a}]}\nsteps: []", "1:28", "a repository resource needs repository"),
        ("jobs: [{deployment: A, strategy: {}}]", "1:34", "a strategy needs runOnce"),
        ("jobs: [{deployment: A, strategy: {runOnce: {}}}]", "1:44", "runOnce needs deploy"),
        ("jobs: [{job: A, workspace: {clean: some}}]", "1:36", "outputs, resources or all"),
        ("jobs: [{job: A, dependsOn: {a: b}}]", "1:28", "must be a text or a list"),
        ("jobs: [{job: A}]\ntimeoutInMinutes: 5", "2:1", "a job's field"),
        ("resources: {pipelines: [{pipeline: a}]}\nsteps: []", "1:25", "a pipeline resource needs source"),
        ("resources: {pipelines: [{pipeline: a, source: b, trigger: no}]}\nsteps: []", "1:59", "true, none or filters"),
        ("- script: a", "1:1", "it is empty, or no mapping"),
        ("trigger: none", "1:1", "a pipeline has stages, or jobs, or steps"),
        (f"jobs: []\n{STEPS}", "1:1", "jobs and steps"),
        ("steps: a", "1:8", "a list is needed here"),
        ("steps: [a]", "1:9", "an item of steps must be a mapping"),
        ("steps: [{}]", "1:9", "a step is empty"),
        (f"step: a\n{STEPS}", "1:1", "did you mean steps?"),
        ("steps:\n- scrpt: a", "2:3", "did you mean script?"),
        ("steps:\n- script: a\n  displayname: b", "3:3", "did you mean displayName?"),
        ("steps:\n- script: a\n  retryCountOnError: 2", "3:3", "did you mean retryCountOnTaskFailure?"),
        ("steps:\n- script: [a]", "2:11", "script must be a text"),
        ("steps:\n- script: a\n  timeoutInMinutes: soon", "3:21", "timeoutInMinutes must be a number"),
        ("steps:\n- script: a\n  name: a b", "3:9", "a step cannot be called 'a b'"),
        ("steps:\n- task: Bash", "2:9", "Name@1"),
        ("jobs:\n- job: a-b\n  steps: []", "2:8", "a job cannot be called 'a-b'"),
        ("jobs:\n- deployment: deploy\n  environment: e", "2:15", "a deployment cannot be called deploy"),
        ("jobs:\n- deployment: d\n  steps: []", "3:3", "a deployment has no steps of its own"),
        ("jobs:\n- deployment: d\n  environment: e", "2:3", "a deployment needs a strategy"),
        ("jobs:\n- displayName: d\n  job: e", "2:3", "job must be the first key"),
        ("stages:\n- stgae: a", "2:3", "did you mean stage?"),
        (f"schedules:\n- cron: daily\n{STEPS}", "2:3", "minute hour day-of-month month day-of-week"),
        (f"trigger: main\n{STEPS}", "1:10", "trigger must be none or a list"),
        (f"trigger: {{branch: [main]}}\n{STEPS}", "1:11", "did you mean branches?"),
        (f"variables: [{{name: a, vlaue: b}}]\n{STEPS}", "1:23", "did you mean value?"),
        (f"parameters: [{{name: a, type: strng}}]\n{STEPS}", "1:30", "did you mean string?"),
        (f"parameters: [{{type: string}}]\n{STEPS}", "1:14", "a parameter needs a name"),
        (f"parameters: [{{name: a, default: 1}}, {{name: A, default: 1}}]\n{STEPS}", "1:37", "declared twice"),
        (f"parameters: [{{name: a, type: number, default: x}}]\n{STEPS}", "1:47", "'x' is not a number"),
        (f"parameters: [{{name: a, type: stepList, default: {{}}}}]\n{STEPS}", "1:49", "a mapping is not a stepList"),
        (f"parameters: [{{name: a, type: boolean}}]\n{STEPS}", "1:1", f"{FILE} needs the parameter a"),
    ],
)
def test_places_and_words(text: str, place: str, part: str) -> None:
    message = str(refused(text))
    assert part in message
    assert f"{FILE}:{place}\n" in message + "\n"


@pytest.mark.parametrize(
    ("text", "feature"),
    [
        ("extends: {template: a.yml@other}", "a template of another repository (@other)"),
        (f"container: ubuntu\n{STEPS}", "a container job"),
        ("jobs: [{job: A, strategy: {matrix: {}}}]", "a matrix without entries"),
        ("jobs: [{job: A, strategy: {matrix: '$[ variables.a ]'}}]", "a matrix that the run computes"),
        ("jobs: [{job: A, strategy: {matrix: {x: {}}, maxParallel: $(n)}}]", "a maxParallel that the run computes"),
        ("jobs: [{job: A, strategy: {matrix: {x: {a: '$[ 1 ]'}}}}]", "a runtime expression in a matrix"),
        (
            "jobs: [{job: A, condition: 'eq(variables.a, 1)', strategy: {matrix: {x: {a: 1}}}}]",
            "a variable of the matrix in its job's condition",
        ),
        (
            "jobs: [{job: A, variables: {b: \"$[ variables['a'] ]\"}, strategy: {matrix: {x: {a: 1}}}}]",
            "a variable of the matrix in its job's condition or variables",
        ),
        (
            "jobs: [{deployment: A, environment: {name: e, resourceType: VirtualMachine}}]",
            "a deployment to all virtual machines",
        ),
        ("phases: []", "phases"),
        ("stages: [{stage: A}, {stage: B, dependsOn: ''}]", "an empty text in dependsOn of a stage"),
        ("resources: [{repo: tools}]\nsteps: []", "a list of resources"),
        ("jobs: [{job: A, strategy: {parallel: 2}}]", "a strategy with parallel"),
        ("jobs: [{job: A, services: {}}]", "service containers"),
        ("jobs: [{deployment: A, environment: e, strategy: {canary: {}}}]", "the canary strategy"),
        ("jobs: [{deployment: A, environment: e, strategy: {rolling: {}}}]", "the rolling strategy"),
        ("stages: [{stage: A, trigger: manual}]", "a stage that is started by hand (trigger)"),
        ("steps: [{script: a, target: host}]", "a step's target"),
        ("steps: [{getPackage: a}]", "getPackage steps"),
        ("steps: [{checkout: tools}]", "checkout of another repository (tools)"),
        (f"resources: {{builds: []}}\n{STEPS}", "build resources"),
        (f"resources: {{containers: [{{container: c, trigger: true}}]}}\n{STEPS}", "a trigger of a container resource"),
        (
            f"resources: {{repositories: [{{repository: t, trigger: [main]}}]}}\n{STEPS}",
            "a trigger of a repository resource",
        ),
        (f"parameters: [{{name: a, type: stringList}}]\n{STEPS}", "the parameter type stringList"),
        ("steps: [!!python/name:os.system {script: a}]", "a YAML tag"),
        ("steps: [{<<: {script: a}}]", "a YAML merge key (<<)"),
        ("steps: [{? [a] : b}]", "a complex key"),
    ],
)
def test_features_outside_the_grammar_are_named(text: str, feature: str) -> None:
    error = refused(text)
    assert isinstance(error, Unsupported)
    assert error.summary.startswith(feature)
    assert error.where.startswith(f"{FILE}:")


def test_an_expression_error_has_a_caret_under_the_place() -> None:
    error = refused("steps:\n- script: |\n    make\n    echo ${{ and(true, eqq(1, 2)) }} done\n")
    assert error.where == f"{FILE}:4:24"
    assert error.problem == " and(true, eqq(1, 2)) \n           ^ there is no function eqq"
    assert error.expected == "did you mean eq?"


def test_a_condition_error_has_a_place_within_its_lines() -> None:
    error = refused(
        "steps:\n- script: a\n  condition: |\n    and(\n      succeeded(),\n      eq(variables.a 'x')\n    )\n"
    )
    assert error.where == f"{FILE}:6:22"
    assert error.problem.splitlines()[-1] == "                 ^ not understood: 'x')"


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        ('eq(variables.a, "x")', "single quotes"),
        ("variables.a == 'x'", "eq(a, b)"),
        ("eq('$(a)', 'x') && true", "and(a, b)"),
        ("eq($(a), 'x')", "variables['name']"),
        ("!true", "not(a)"),
        ("eq(parameters.a, 'x')", "variables"),
        ("eq(variables.my-name, 'x')", "parameters['my-name']"),
    ],
)
def test_usual_mistakes_in_conditions_get_a_hint(condition: str, hint: str) -> None:
    assert (
        hint
        in refused(
            f"steps:\n- script: a\n  condition: {condition if condition[0] != '!' else repr(condition)}"
        ).expected
    )


def test_circles_are_drawn() -> None:
    stages = refused("stages:\n- stage: A\n  dependsOn: C\n- stage: B\n  dependsOn: A\n- stage: C\n  dependsOn: B\n")
    assert stages.problem in {"A → C → B → A", "A → B → C → A"}
    jobs = refused("jobs:\n- job: A\n  dependsOn: A\n")
    assert jobs.problem == "A → A"
    templates = refused("steps: [{template: a.yml}]", a="steps: [{template: b.yml}]", b="steps: [{template: a.yml}]")
    assert templates.problem == "a.yml → b.yml → a.yml"
    assert templates.where == "b.yml:1:9"


def test_unknown_and_double_names() -> None:
    assert refused("jobs:\n- job: Build\n- job: Test\n  dependsOn: Biuld\n").expected == "did you mean Build?"
    assert refused("stages:\n- stage: A\n- stage: a\n").problem == f"there is already one at {FILE}:2:3"
    twins = "steps:\n- script: a\n  name: s\n- script: b\n  name: S\n"
    assert refused(twins).problem == f"there is already one at {FILE}:2:3"
    assert (
        "C is no job that B depends on"
        in refused("jobs: [{job: A}, {job: C}, {job: B, dependsOn: A, condition: succeeded('C')}]").problem
    )


def test_files_that_are_not_there() -> None:
    error = refused("steps: [{template: step.yml}]", steps="steps: []")
    assert error.expected == "did you mean steps.yml?"
    assert "outside of the repository" in refused("steps: [{template: ../x.yml}]").summary
    with pytest.raises(PipelineError, match=r"there is no file other\.yml"):
        plan("other.yml", Inputs(), {})


def test_growth_without_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "MAX_NODES", 5_000)  # the real limit takes seconds to reach
    lines = ["parameters:", "- {name: a, type: object, default: [x, x, x, x, x, x, x, x, x, x]}", "steps:"]
    indent = ""
    for level in range(9):
        lines.append(f"{indent}- ${{{{ each v{level} in parameters.a }}}}:")
        indent += "  "
    lines.append(f"{indent}- script: lol")
    assert refused("\n".join(lines)).summary == "the pipeline grows too large"
    laughs = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9))
    assert isinstance(refused(f"a0: &a0 lol\n{laughs}"), Unsupported)
    text = "'" + "x" * 200_000 + "'"
    longer = f"replace(replace({text}, 'x', 'xxxxxxxxxx'), 'x', 'xxxxxxxxxx')"
    assert "more than 21,000 characters" in refused(f'steps: [{{script: "${{{{ {longer} }}}}"}}]').problem


def test_nesting_without_end_is_stopped() -> None:
    deep = "[" * 5_000 + "]" * 5_000
    assert refused(f"steps: {deep}").summary == "nested too deeply"
    assert refused("a: " * 1 + "{a: " * 5_000 + "}" * 5_000).summary == "nested too deeply"
    call = "not(" * 3_000 + "true" + ")" * 3_000
    assert "nests deeper than 50 levels" in refused(f"steps: [{{script: a, condition: '{call}'}}]").problem


def test_undefined_macros_are_told_with_their_place() -> None:
    text = "steps:\n- bash: |\n    cd $(pwd)\n    echo $(a) $(nope)\n  env: {X: $(gone)}\nvariables: {a: b}\n"
    warnings = [str(warned) for warned in plan(FILE, Inputs(), {FILE: text}).warnings]
    assert warnings == [
        f"{FILE}:4:15: $(nope) is defined nowhere: Azure Pipelines leaves it as text",
        f"{FILE}:5:12: $(gone) is defined nowhere: Azure Pipelines leaves it as text",
    ]


def test_unknown_groups_make_variables_open_and_not_missing() -> None:
    text = "variables: [{group: shared}]\nsteps:\n- bash: echo $(a)\n  condition: eq(variables.a, 'x')\n"
    made = plan(FILE, Inputs(), {FILE: text})
    assert [warned.text for warned in made.warnings] == ["the members of group shared are not known here"]
    assert made.decisions["__default/Job/1"].runs is None
    known = plan(FILE, Inputs(groups={"shared": {"a": "y"}}), {FILE: text})
    assert known.decisions["__default/Job/1"].runs is False
    assert known.warnings == ()


def test_parameters_of_the_command_line_are_checked() -> None:
    text = f"parameters: [{{name: count, type: number, default: 1}}, {{name: o, type: object, default: []}}]\n{STEPS}"
    assert refused(text, Inputs(parameters={"cuont": "1"})).expected == "did you mean count?"
    assert refused(text, Inputs(parameters={"count": "many"})).problem == "'many' is not a number"
    assert refused(text, Inputs(parameters={"o": "[a"})).where == "-p o:2:1"
    made = plan(FILE, Inputs(parameters={"o": "{a: [1, 2]}", "count": "2"}), {FILE: text})
    assert dict(made.pipeline.parameters) == {"count": 2, "o": {"a": ["1", "2"]}}


def test_outcomes_of_unknown_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="there is no step __default/Job/9"):
        simulate(plan(FILE, Inputs(), {FILE: STEPS}), {"__default/Job/9": StepOutcome()})


def test_errors_survive_pickling() -> None:
    error = refused("jobs: [{job: A, container: a}]")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is Unsupported
    assert str(copy) == str(error)


WORDS = [
    "${{ if true }}:", "${{ each x in parameters.a }}:", "${{ insert }}:", "- ", "{}", "[]", "''", "${{ variables.a }}",
    "$(a)", "$[ 1 ]", "condition: ", "dependsOn: ", "template: ", "  ", "\n", "*", "&", "!!x", "'", '"', ":", ",",
    "${{", "}}", "steps:", "jobs:", "-1", "1e400", "succeeded(", "and(", "each", "\t", "é", "\u2028", "\x00",
]  # fmt: skip


def spoiled(text: str, dice: random.Random) -> str:
    """A text with some of its characters or lines gone, doubled, moved, or replaced by words of the language."""
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(len(text) + 1)
        lines = text.split("\n")
        one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
        moved = [*lines[:one], lines[other], *lines[one:]]
        text = dice.choice([
            text[:place] + text[place + dice.randint(1, 8) :],
            text[:place] + dice.choice(WORDS) + text[place:],
            "\n".join(moved),
            "\n".join([*lines[:one], "  " + lines[one], *lines[one + 1 :]]),
            "\n".join([*lines[:one], lines[one][2:], *lines[one + 1 :]]),
        ])  # fmt: skip
    return text


@pytest.mark.parametrize("seed", range(4))
def test_whatever_a_file_has_the_answer_is_a_plan_or_a_place(seed: int) -> None:
    dice = random.Random(seed)
    folder = Path(__file__).parents[1] / "conformance"
    cases = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.yml"))]
    cases = [case for case in cases if "files" in case]
    for _ in range(150):
        case = dice.choice(cases)
        name = dice.choice(list(case["files"]))
        files = {**case["files"], name: spoiled(case["files"][name], dice)}
        where = answer(case.get("file", FILE), files)
        assert where == "" or where.count(":") >= 2


def answer(file: str, files: dict[str, str]) -> str:
    """The place of the error in a pipeline; empty where it can be planned and played."""
    try:
        made = plan(file, Inputs(), files)
        simulate(made, {})
    except PipelineError as error:
        return error.where
    assert plan_text(made)
    return ""
