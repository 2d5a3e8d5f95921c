"""Plans as they are shown, how fast they are made, and that they touch nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from ridgeway.ci.azure import Folder, Inputs, PipelineError, document, plan, plan_json, plan_text

RELEASE = """\
parameters:
- name: model
  type: string
- name: wait
  type: boolean
  default: true
trigger:
  branches: {include: [main, releases/*], exclude: [releases/old*]}
  paths: {include: [steps]}
pr: none
schedules:
- cron: 0 4 * * 1
  branches: [main]
resources:
  pipelines:
  - pipeline: retraining
    source: Retraining
    trigger: true
variables:
- group: registry
- name: isMain
  value: $[eq(variables['Build.SourceBranch'], 'refs/heads/main')]
pool: {vmImage: ubuntu-latest}
stages:
- stage: QA
  jobs:
  - job: release
    steps:
    - script: ridgeway run release ${{ parameters.model }} --until qa --ci
      displayName: Release to QA
      name: run
- stage: Production
  condition: and(succeeded(), eq(variables.isMain, true), eq(dependencies.QA.outputs['release.run.outcome'], 'waiting'))
  jobs:
  - deployment: approve
    environment: production
    variables:
      release: $[ stageDependencies.QA.release.outputs['run.release'] ]
    strategy:
      runOnce:
        deploy:
          steps:
          - bash: ridgeway approve $(release) --ci
          - task: PublishTestResults@2
            condition: ${{ parameters.wait }}
        on:
          failure:
            steps:
            - bash: ridgeway rollback production
- stage: Never
  dependsOn: []
  condition: eq('${{ parameters.model }}', 'none')
  jobs:
  - job: nothing
    steps: [{script: a}]
"""

SHOWN = """\
release.yml  Manual of refs/heads/main
  parameter  model = models:/diabetes/7
  parameter  wait = True
  starts on  push to main releases/* except releases/old* with changes of steps, no pull request, \
schedule 0 4 * * 1 UTC on main, end of Retraining
  variables  of group registry
  variable   isMain = True
stage QA  runs: nothing comes before it
  job release  runs: nothing comes before it
    pool ubuntu-latest
    checkout  checkout self (of itself)
    run  Release to QA: script ridgeway run release models:/diabetes/7 --until qa --ci
stage Production  after QA  decided then: and(succeeded() of QA, eq('True', True), \
eq(output release.run.outcome of QA, 'waiting'))
  deployment approve  runs: nothing comes before it
    environment production: its approvals and checks come first
    pool ubuntu-latest
    variable   release = at run time: output run.release of QA.release
    deploy
      download  download current (of itself)
      1  bash ridgeway approve $(release) --ci
      2  task PublishTestResults@2 (not executed here)  runs: True
    on.failure
      3  bash ridgeway rollback production
stage Never  skipped: eq('models:/diabetes/7', 'none')
  job nothing  skipped: stage Never is skipped
    pool ubuntu-latest
    checkout  checkout self (of itself)  skipped: its job is skipped
    1  script a  skipped: its job is skipped
warning  release.yml:20:3: the members of group registry are not known here"""

INPUTS = Inputs(parameters={"model": "models:/diabetes/7"})


def test_a_plan_as_people_see_it() -> None:
    assert plan_text(plan("release.yml", INPUTS, {"release.yml": RELEASE})) == SHOWN


def test_a_plan_as_programs_see_it() -> None:
    made = json.loads(json.dumps(plan_json(plan("release.yml", INPUTS, {"release.yml": RELEASE}))))
    assert [stage["runs"] for stage in made["stages"]] == [True, None, False]
    job = made["stages"][1]["jobs"][0]
    assert (job["deployment"], job["environment"], job["pool"]) == (True, "production", "ubuntu-latest")
    assert job["variables"] == [
        {"name": "release", "value": "output run.release of QA.release", "at_run_time": True, "origin": "job approve"}
    ]
    assert [(step["hook"], step["step"], step["runs"]) for step in job["steps"]] == [
        ("deploy", "download", True), ("deploy", "1", True), ("deploy", "2", True), ("on.failure", "3", None)
    ]  # fmt: skip


def test_secrets_are_not_shown() -> None:
    text = "variables: [{group: g}, {name: url, value: https://u:$(key)@host}]\n"
    text += "steps: [{script: a, condition: \"eq(variables.key, 'x')\"}]"
    made = plan("a.yml", Inputs(groups={"g": {"key": "s3cret"}}, secrets=frozenset({"Key"})), {"a.yml": text})
    assert made.variables[""][1].value == "https://u:***@host"
    assert made.decisions["__default/Job/1"].why == "eq('***', 'x')"
    assert "s3cret" not in plan_text(made) + json.dumps(plan_json(made))


def test_without_libyaml_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = plan_text(plan("release.yml", INPUTS, {"release.yml": RELEASE}))
    monkeypatch.setattr(document, "_Loader", yaml.SafeLoader)
    assert plan_text(plan("release.yml", INPUTS, {"release.yml": RELEASE})) == fast
    with pytest.raises(PipelineError, match="not a YAML file"):
        plan("a.yml", Inputs(), {"a.yml": "steps: [1"})


def test_the_example_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[3] / "docs/ci-runner.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    (tmp_path / "release.yml").write_text(RELEASE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/ci-runner.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "Skipped"


def test_a_file_of_ten_thousand_lines_is_planned_whole() -> None:
    from benchmarks.ci_plan import large

    made = plan("a.yml", Inputs(), {"a.yml": large(10_000)})
    jobs = [job for stage in made.pipeline.stages for job in stage.jobs]
    assert len(jobs) == 4 * len(made.pipeline.stages)
    assert sum(len(job.steps) for job in jobs) == 11 * len(jobs)  # ten, and the checkout
    assert len(made.decisions) > 1_500


def test_a_folder_gives_its_files_and_no_others(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    (root / "ci").mkdir(parents=True)
    (root / "ci" / "a.yml").write_text("steps: [{template: b.yml}, {template: /c.yml}]", encoding="utf-8-sig")
    (root / "ci" / "b.yml").write_text("steps: [{script: b}]", encoding="utf-8")
    (root / "c.yml").write_bytes(b"steps:\n- script: \xff\n")
    (tmp_path / "secret.yml").write_text("steps: []", encoding="utf-8")
    files = Folder(root)
    assert list(files) == ["c.yml", "ci/a.yml", "ci/b.yml"]
    assert len(files) == 3
    with pytest.raises(PipelineError, match=r"0xff is no UTF-8") as caught:
        plan("ci/a.yml", Inputs(), files)
    assert caught.value.where == "c.yml:2:11"
    (root / "c.yml").write_text("steps: []", encoding="utf-8")
    assert plan("ci/a.yml", Inputs(), files).pipeline.files == ("ci/a.yml", "ci/b.yml", "c.yml")
    with pytest.raises(KeyError):
        files["../secret.yml"]
    (root / "link.yml").symlink_to(tmp_path / "secret.yml")
    with pytest.raises(KeyError):
        files["link.yml"]


@pytest.mark.parametrize(
    ("reason", "branch", "expected"),
    [
        ("push", "main", "IndividualCI refs/heads/main main"),
        ("pr", "topic", "PullRequest refs/pull/5/merge merge"),
        ("schedule", "refs/heads/a/b", "Schedule refs/heads/a/b b"),
    ],
)
def test_predefined_variables_follow_the_circumstances(reason: str, branch: str, expected: str) -> None:
    text = "steps:\n- script: ${{ variables['Build.Reason'] }} ${{ variables['Build.SourceBranch'] }} "
    text += "${{ variables['Build.SourceBranchName'] }}\n"
    made = plan("a.yml", Inputs(reason=reason, branch=branch, pull_request=5), {"a.yml": text})
    assert made.pipeline.stages[0].jobs[0].steps[1].value == expected


@pytest.mark.parametrize("declared", ["", "parameters:\n  a: 1\n"])
def test_templates_without_a_list_of_parameters_take_any(declared: str) -> None:
    template = declared + "steps:\n- ${{ each p in parameters }}:\n  - script: ${{ p.key }}=${{ p.value }}\n"
    text = "steps:\n- template: t.yml\n  parameters: {b: 2}\n"
    made = plan("a.yml", Inputs(), {"a.yml": text, "t.yml": template})
    steps = [step.value for step in made.pipeline.stages[0].jobs[0].steps if not step.implicit]
    assert sorted(steps) == [*(["a=1"] if declared else []), "b=2"]
    warned = "a.yml:3:19: t.yml does not declare b, and has it all the same"
    assert [str(one) for one in made.warnings] == ([warned] if declared else [])


def test_what_the_system_knows_early_may_be_told() -> None:
    text = "steps:\n- ${{ if eq(variables['System.TeamProject'], 'mine') }}:\n  - script: a\n"
    told = plan("a.yml", Inputs(variables={"System.TeamProject": "mine"}), {"a.yml": text})
    assert [step.value for step in told.pipeline.stages[0].jobs[0].steps] == ["self", "a"]
    untold = plan("a.yml", Inputs(), {"a.yml": text})
    assert "--variable 'System.TeamProject=…' tells it" in str(untold.warnings[0])


def test_paths_of_templates_may_be_written_as_on_windows() -> None:
    text = "steps:\n- template: \\eng\\t.yml\n"
    made = plan("ci/a.yml", Inputs(), {"ci/a.yml": text, "eng/t.yml": "steps:\n- script: a\n"})
    assert made.pipeline.files == ("ci/a.yml", "eng/t.yml")


def test_the_old_form_of_resources_says_nothing_new() -> None:
    made = plan("a.yml", Inputs(), {"a.yml": "resources:\n- repo: self\n  clean: true\nsteps:\n- script: a\n"})
    assert len(made.pipeline.stages[0].jobs[0].steps) == 2


def test_a_macro_in_a_condition_is_only_text() -> None:
    text = "variables: {a: 1}\nsteps:\n- script: x\n  condition: eq('$(a)', '1')\n"
    made = plan("a.yml", Inputs(), {"a.yml": text})
    assert made.decisions["__default/Job/1"].runs is False
    assert [str(one) for one in made.warnings] == [
        "a.yml:4:18: $(a) stays a text in a condition: variables['a'] is the variable"
    ]


def test_a_matrix_wins_over_the_variables_of_its_job() -> None:
    steps = "steps: [{script: a, condition: 'eq(variables.v, 2)'}]"
    text = f"jobs: [{{job: A, variables: {{v: 1}}, strategy: {{matrix: {{x: {{v: 2}}, y: {{}}}}}}, {steps}}}]"
    made = plan("a.yml", Inputs(), {"a.yml": text})
    assert made.decisions["__default/A.x/1"].runs is True
    assert made.decisions["__default/A.y/1"].runs is False


def test_what_tasks_set_is_known() -> None:
    text = """\
steps:
- task: Cache@2
  inputs: {key: a, path: b, cacheHitVar: HIT}
- task: DownloadSecureFile@1
  name: kube
  inputs: {secureFile: kubeconfig}
- bash: cat $(kube.secureFilePath) $(HIT) $(kube.secureFilPath)
"""
    made = plan("a.yml", Inputs(), {"a.yml": text})
    assert [str(one).partition(" is ")[0] for one in made.warnings] == ["a.yml:7:43: $(kube.secureFilPath)"]
