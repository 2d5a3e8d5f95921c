"""Where values come from, which one wins, and what is refused with which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ridgeway import settings
from ridgeway.errors import UsageError


def project(tmp_path: Path, toml: str = "", operations: str = "") -> Path:
    (tmp_path / "ridgeway.toml").write_text(toml, encoding="utf-8")
    if operations:
        (tmp_path / "operations.toml").write_text(operations, encoding="utf-8")
    return tmp_path


def refusal(root: Path, *overrides: str, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        settings.load(root, overrides=overrides, environ=environ)
    return str(caught.value)


def test_each_layer_wins_over_the_one_before(tmp_path: Path) -> None:
    root = project(
        tmp_path, "[registry]\nuri = 'sqlite:///a.db'\n[training]\nseed = 1", "[registry]\nuri = 'sqlite:///b.db'"
    )
    loaded = settings.load(root, environ={})
    assert (loaded.settings.registry.uri, loaded.origin("registry.uri")) == ("sqlite:///b.db", "operations.toml")
    assert (loaded.settings.training.seed, loaded.origin("training.seed")) == (1, "ridgeway.toml")
    loaded = settings.load(root, environ={"RIDGEWAY_TRAINING__SEED": "2"})
    assert (loaded.settings.training.seed, loaded.origin("training.seed")) == (2, "RIDGEWAY_TRAINING__SEED")
    loaded = settings.load(root, overrides=["training.seed=3"], environ={"RIDGEWAY_TRAINING__SEED": "2"})
    assert (loaded.settings.training.seed, loaded.origin("training.seed")) == (3, "--set")
    assert loaded.origin("training.task") == "default"


def test_operations_can_stand_elsewhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "ops.toml"
    elsewhere.write_text("[servers]\nidle_minutes = 1")
    loaded = settings.load(project(tmp_path), environ={"RIDGEWAY_OPERATIONS": str(elsewhere)})
    assert (loaded.settings.servers.idle_minutes, loaded.origin("servers.idle_minutes")) == (1, "ops.toml")
    assert "there is no such file" in refusal(tmp_path, RIDGEWAY_OPERATIONS=str(tmp_path / "none.toml"))


def test_a_target_of_another_kind_begins_anew(tmp_path: Path) -> None:
    ours = "[targets.qa]\naddress = 'http://a:1'\nserver = {workers = 2}\n[targets.production]\nreplicas = 3"
    theirs = "[targets.qa]\nkind = 'kubernetes'\n[targets.production]\nkind = 'process'\naddress = 'http://a'"
    loaded = settings.load(project(tmp_path, ours, theirs), environ={"RIDGEWAY_TARGETS__QA__KIND": "docker"})
    qa, production = loaded.settings.targets["qa"], loaded.settings.targets["production"]
    assert (qa.kind, qa.address, qa.server) == ("docker", "", {})
    assert loaded.origin("targets.qa.address") == "default"
    assert (production.address, production.replicas) == ("http://a", 3)  # the same kind: merged


def test_operations_may_not_hold_the_projects_half(tmp_path: Path) -> None:
    message = refusal(project(tmp_path, "", "[data]\nlabel = 'y'"))
    assert "holds [data]" in message
    assert "move [data] to ridgeway.toml" in message


def test_tables_are_merged_and_not_replaced(tmp_path: Path) -> None:
    root = project(tmp_path, "[training]\nparameters = { alpha = 1.0, solver = 'auto' }")
    loaded = settings.load(root, overrides=["training.parameters.alpha=2.5"], environ={})
    assert loaded.settings.training.parameters == {"alpha": 2.5, "solver": "auto"}


def test_free_tables_in_the_environment_have_types(tmp_path: Path) -> None:
    environ = {"RIDGEWAY_TRAINING__PARAMETERS__ALPHA": "2.5", "RIDGEWAY_RULES__SLICES": '{"old": "age >= 60"}'}
    loaded = settings.load(project(tmp_path), environ=environ)
    assert loaded.settings.training.parameters == {"alpha": 2.5}
    assert loaded.settings.rules.slices == {"old": "age >= 60"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.ignore=['a', 'b']", ("a", "b")),
        ('data.ignore=["a"]', ("a",)),
        ("data.ignore=[]", ()),
    ],
)
def test_values_on_the_command_line_are_toml(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    assert settings.load(project(tmp_path), overrides=[text], environ={}).settings.data.ignore == expected


def test_a_value_that_is_no_toml_is_text(tmp_path: Path) -> None:
    assert settings.load(project(tmp_path), overrides=["data.label=price"], environ={}).settings.data.label == "price"


def test_an_unknown_name_in_a_file_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    assert refusal(project(tmp_path, "[data]\nhold_out = 0.1")) == (
        "unknown setting data.hold_out\n"
        "  where     ridgeway.toml\n"
        "  problem   did you mean data.holdout?\n"
        "  next      ridgeway settings"
    )


@pytest.mark.parametrize(
    ("overrides", "environ", "expected"),
    [
        (["trainig.seed=1"], {}, "did you mean training?"),
        (["seed=1"], {}, "not of the form KEY=VALUE"),
        (["training.seed"], {}, "not of the form KEY=VALUE"),
        ([], {"RIDGEWAY_TRANING__SEED": "1"}, "did you mean RIDGEWAY_TRAINING__SEED?"),
        ([], {"RIDGEWAY_WHEELS": "x"}, "did you mean RIDGEWAY_WHEEL?"),
        ([], {"RIDGEWAY_DATA__IGNORE": "[x"}, "expected  JSON"),
        (["training.seed=-1"], {}, "greater than or equal to 0"),
        (["data.holdout=1"], {}, "data.holdout = 1   (from --set)"),
        (["training.task=clustering"], {}, "'regression' or 'classification'"),
        (["data.label.x=1"], {}, "data.label"),
        ([], {"RIDGEWAY_RULES__ALPHA": "much"}, "(from RIDGEWAY_RULES__ALPHA)"),
    ],
)
def test_what_is_wrong_is_named_with_its_origin(
    tmp_path: Path, overrides: list[str], environ: dict[str, str], expected: str
) -> None:
    assert expected in refusal(project(tmp_path), *overrides, **environ)


def test_a_section_that_is_a_value_and_a_file_that_is_no_toml(tmp_path: Path) -> None:
    assert "data is a table of settings" in refusal(project(tmp_path, "data = 1"))
    assert "cannot read" in refusal(project(tmp_path, "[data\n"))


def test_names_that_are_no_settings_are_let_through(tmp_path: Path) -> None:
    environ = dict.fromkeys(settings.NOT_SETTINGS, "x") | {"RIDGEWAY_KEY_FILE": "/run/key"}
    del environ["RIDGEWAY_OPERATIONS"]
    assert settings.load(project(tmp_path), environ=environ).origins == {}


def test_every_setting_has_help_and_is_shown(tmp_path: Path) -> None:
    root = project(tmp_path, "[schedules]\nretraining = { cron = '0 4 * * 1' }")
    rows = list(settings.rows(settings.load(root, environ={})))
    free = re.compile(r"^(targets|instance_types|approvers|schedules)\.[a-z-]+")
    assert list(dict.fromkeys(free.sub(r"\1.NAME", row.path) for row in rows)) == settings.known_paths()
    assert [row.path for row in rows if len(row.help) < 15] == []


def test_the_ci_build_of_each_system() -> None:
    azure = {
        "BUILD_BUILDID": "17",
        "SYSTEM_COLLECTIONURI": "https://dev.example/team/",
        "SYSTEM_TEAMPROJECT": "models",
    }
    assert settings.ci_build(azure) == {
        "system": "azure",
        "id": "17",
        "url": "https://dev.example/team/models/_build/results?buildId=17",
    }
    assert settings.ci_build({}) == {}


def test_tables_with_free_names(tmp_path: Path) -> None:
    root = project(tmp_path, "[targets.qa]\nkind = 'docker'\n[targets.production]\nreplicas = 2")
    loaded = settings.load(root, environ={"RIDGEWAY_TARGETS__PRODUCTION__ROLLOUT__BAKE_SECONDS": "1"})
    production = loaded.settings.targets["production"]
    assert (loaded.settings.targets["qa"].kind, production.kind) == ("docker", "process")
    assert (production.replicas, production.rollout.bake_seconds) == (2, 1)
    where = "RIDGEWAY_TARGETS__PRODUCTION__ROLLOUT__BAKE_SECONDS"
    assert loaded.origin("targets.production.rollout.bake_seconds") == where
    assert loaded.origin("targets.production.replicas") == "ridgeway.toml"


def test_default_targets_can_be_changed_one_by_one(tmp_path: Path) -> None:
    loaded = settings.load(project(tmp_path), overrides=["targets.production.replicas=3"], environ={})
    assert loaded.settings.targets["production"].replicas == 3
    assert loaded.settings.targets["production"].address == "http://127.0.0.1:8082"
    assert list(loaded.settings.targets) == ["qa", "production"]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("targets.production.replica=3", "did you mean targets.NAME.replicas?"),
        ("targets.production.rollout.bake=3", "targets.NAME.rollout.bake_seconds"),
        ('release.stages=["qa","live"]', "[targets.live]"),
        ("targets.qa.instance_type=huge", "one of cpu-small"),
        ("targets.qa.approval.role=boss", "one of release-manager"),
        ("targets.Live_One.kind=docker", "small letters, digits and dashes"),
        ("targets.qa=3", "targets.qa"),
        ("targets.qa.kind=ship", "targets.qa.kind"),
    ],
)
def test_wrong_targets_are_refused_with_the_place(tmp_path: Path, override: str, words: str) -> None:
    assert words in refusal(project(tmp_path), override)
