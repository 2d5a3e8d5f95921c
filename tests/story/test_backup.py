"""A backup while everything runs, and going on from it in another place."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.story.conftest import FEW_COLUMNS, Story

pytestmark = pytest.mark.slow


def test_a_backup_while_a_retraining_runs_is_whole_and_the_next_retraining_elsewhere_finds_nothing_new(
    story: Story, tmp_path: Path
) -> None:
    # Of its own, so that its database is in the backup too.
    (story.root / ".ridgeway" / "prefect").unlink()
    retraining = story.process("run", "retraining", "--set", FEW_COLUMNS, "--set", "training.parameters.alpha=100000.0")
    try:
        backups = []
        while retraining.poll() is None:
            backups.append(tmp_path / f"{len(backups)}.tar.gz")
            assert story.ridgeway("backup", backups[-1]).code == 0
            time.sleep(1)
        err = retraining.communicate()[1]
        assert retraining.returncode in (0, 3, 4), err
        assert len(backups) > 1
        shutil.copytree(story.root, tmp_path / "clone", ignore=shutil.ignore_patterns(".ridgeway"))
        elsewhere = Story(tmp_path / "clone")
        for number, backup in enumerate(backups):
            restored = elsewhere.ridgeway("restore", backup, *(["--force"] if number else []))
            assert restored.code == 0, restored.err
            assert elsewhere.versions() == story.versions()[:1]
        shown = [where.ridgeway("show", "models:/diabetes/1", "--json").out for where in (story, elsewhere)]
        assert json.loads(shown[0]) == json.loads(shown[1])
        again = elsewhere.ridgeway("run", "retraining", "--set", FEW_COLUMNS)
        assert (again.code, again.line) == (0, "models:/diabetes/1"), again.err
        assert "unchanged: models:/diabetes/1 is this very model" in again.err
    finally:
        retraining.kill()
        story.ridgeway("down")
        Story(tmp_path / "clone").ridgeway("down")
