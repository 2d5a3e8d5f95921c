"""Which files of a corpus are tried, and which are parts of others."""

from __future__ import annotations

from pathlib import Path

from ridgeway.ci.checking.corpus import look_at_corpus


def tried(folder: Path, texts: dict[str, str]) -> dict[str, str]:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return {one.file: one.outcome for one in look_at_corpus(folder)}


def test_a_file_that_others_use_is_a_template(tmp_path: Path) -> None:
    steps = "steps:\n- script: make\n"
    assert tried(
        tmp_path,
        {
            "one/ci.yml": "steps:\n- template: 't/a.yml'  # first\n- template: /t/b.yml@self\n- template: t\\c.yml\n",
            "one/t/a.yml": steps,
            "one/t/b.yml": steps,
            "one/t/c.yml": steps,
            "one/t/d.yml": steps,
            "two/t/a.yml": steps,
        },
    ) == {
        "one/ci.yml": "plans",
        "one/t/a.yml": "template",
        "one/t/b.yml": "template",
        "one/t/c.yml": "template",
        "one/t/d.yml": "plans",
        "two/t/a.yml": "plans",
    }


def test_a_file_whose_parameters_all_have_defaults_is_tried(tmp_path: Path) -> None:
    parameters = "parameters:\n- name: a\n  type: string\n  default: b\n"
    assert tried(
        tmp_path,
        {
            "one/with.yml": f"{parameters}steps:\n- script: ${{{{ parameters.a }}}}\n",
            "one/without.yml": "parameters:\n- name: a\nsteps:\n- script: ${{ parameters.a }}\n",
            "one/extends.yml": f"{parameters}extends:\n  template: with.yml\n",
        },
    ) == {"one/extends.yml": "plans", "one/with.yml": "template", "one/without.yml": "template"}
