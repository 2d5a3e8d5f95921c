"""The plan of a publication, compared whole."""

from __future__ import annotations

from dataclasses import replace

from ridgeway.artifacts import Change, Origin, Publication, PublishedFlow, Schedule
from ridgeway.rules.publication import plan

OLD = Origin("/repo", "a" * 40, "ml", "/repo/ml")
NEW = replace(OLD, commit="b" * 40)
WEEKLY = Schedule("weekly", "0 4 * * 1", "Europe/Berlin")
RETRAINING = PublishedFlow(
    "retraining", "toy", "flows/retraining.py:retraining", OLD, {"type": "object"}, "Trains.", concurrency=1,
    schedules=(WEEKLY,), id="1",
)  # fmt: skip
TIDY = PublishedFlow("tidy", "toy", "flows/tidy.py:tidy", OLD, id="2")


def test_nothing_where_all_is_as_it_shall_be() -> None:
    wanted = Publication("toy", (replace(RETRAINING, id=""), replace(TIDY, id="")))
    assert plan(wanted, Publication("toy", (TIDY, RETRAINING))) == ()


def test_what_is_new_what_moved_and_what_is_gone_in_this_order() -> None:
    build = PublishedFlow("build", "toy", "flows/build.py:build", NEW, schedules=(WEEKLY,))
    wanted = Publication("toy", (build, replace(RETRAINING, origin=NEW)))
    assert plan(wanted, Publication("toy", (RETRAINING, TIDY))) == (
        Change(
            "create",
            "build",
            (
                "from commit bbbbbbbbbbbb",
                "schedule weekly: 0 4 * * 1 Europe/Berlin, overlap skip, missed once",
            ),
        ),
        Change("change", "retraining", ("commit aaaaaaaaaaaa → bbbbbbbbbbbb",)),
        Change("remove", "tidy", ("it is no longer in the tree",)),
    )


def test_every_field_of_a_flow_is_told() -> None:
    changed = replace(
        RETRAINING,
        entrypoint="flows/other.py:retraining",
        origin=Origin("/moved", OLD.commit, "", "/moved"),
        parameter_schema={},
        description="Trains and judges.",
        pool="ridgeway-kubernetes",
        job_variables={"instance_type": "gpu-small"},
        concurrency=0,
        schedules=(
            replace(WEEKLY, timezone="UTC", overlap="queue", active=False),
            Schedule("daily", "0 5 * * *", missed="none", parameters={"ci": True}),
        ),
    )
    found = replace(RETRAINING, schedules=(WEEKLY, Schedule("old", "0 0 1 * *")))
    assert plan(Publication("toy", (changed,)), Publication("toy", (found,))) == (
        Change(
            "change",
            "retraining",
            (
                "repository /repo → /moved",
                "folder ml → none",
                "home /repo/ml → /moved",
                "file flows/retraining.py:retraining → flows/other.py:retraining",
                "work pool ridgeway → ridgeway-kubernetes",
                "job variables none → {'instance_type': 'gpu-small'}",
                "runs at once 1 → any",
                "its parameters",
                "its description",
                "new schedule daily: 0 5 * * * UTC, overlap skip, missed none, {'ci': True}",
                "schedule old goes",
                (
                    "schedule weekly: 0 4 * * 1 Europe/Berlin, overlap skip, missed once → "
                    "0 4 * * 1 UTC (off), overlap queue, missed once"
                ),
            ),
        ),
    )


def test_a_publication_of_two_commits_has_none() -> None:
    assert Publication("toy", (RETRAINING, replace(TIDY, origin=NEW))).commit == ""
    assert Publication("toy", (RETRAINING, TIDY)).commit == OLD.commit
