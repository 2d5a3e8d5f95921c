from __future__ import annotations

from ridgeway.artifacts import Finding
from ridgeway.cli.findings import table

FINDINGS = (
    Finding("disk", "pass", "67,593 MiB are free", "never shown"),
    Finding("pull by digest", "fail", "the node cannot pull it: ImagePullBackOff", "docker login registry.example"),
    Finding("quota", "warn", "one more\nthen none", "ask for more"),
)


def test_wide() -> None:
    assert table(FINDINGS, 100) == (
        "ok    disk            67,593 MiB are free\n"
        "FAIL  pull by digest  the node cannot pull it: ImagePullBackOff\n"
        "                      next: docker login registry.example\n"
        "warn  quota           one more\n"
        "                      then none\n"
        "                      next: ask for more"
    )


def test_narrow_and_words_are_never_torn() -> None:
    assert table(FINDINGS[1:2], 46) == (
        "FAIL  pull by digest  the node cannot pull it:\n"
        "                      ImagePullBackOff\n"
        "                      next: docker login\n"
        "                      registry.example"
    )


def test_none_at_all() -> None:
    assert table((), 80) == ""
