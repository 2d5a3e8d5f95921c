"""How long a pipeline of 10,000 lines takes to plan, beside the plain reading of its YAML.

    python benchmarks/ci_plan.py [--rounds 5] [--lines 10000]

Both run in turn in one process, in CPU time. Prints a table; the figures are kept in docs/ci-runner.md.
"""

from __future__ import annotations

import argparse
import statistics
import time

import yaml

from ridgeway.ci.azure import Inputs, plan


def large(lines: int) -> str:
    """A pipeline of at least so many lines: stages of four jobs of ten steps, each with expressions and conditions."""
    made = ["parameters: [{name: env, type: string, default: qa}]", "variables: {a: x}", "stages:"]
    stage = 0
    while len(made) < lines:
        stage += 1
        made += [f"- stage: S{stage}", "  condition: and(succeeded(), eq(variables['Build.Reason'], 'Manual'))"]
        made += ["  jobs:"]
        for job in range(4):
            made += [f"  - job: J{job}", "    variables:", f"      w: $[ eq(variables.v, 'qa-{job}') ]"]
            made += [f"      v: ${{{{ format('{{0}}-{stage}', parameters.env) }}}}", "    steps:"]
            for step in range(10):
                made += ["    - bash: |", f"        echo {stage} {job} {step} $(a)", "        echo ${{ variables.v }}"]
                made += [f"      displayName: Step {step} of ${{{{ parameters.env }}}}", "      env:"]
                made += ["        A: $(a)", f"      condition: and(succeeded(), eq(variables.v, '{stage}{job}{step}'))"]
    return "\n".join(made)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lines", type=int, default=10_000)
    chosen = parser.parse_args()
    text = large(chosen.lines)
    plan("a.yml", Inputs(), {"a.yml": "steps: [{script: a, condition: 'eq(1, 1)'}]"})  # the grammar is built once
    ours, plain = [], []
    for _ in range(chosen.rounds):
        began = time.process_time()
        plan("a.yml", Inputs(), {"a.yml": text})
        ours.append(time.process_time() - began)
        began = time.process_time()
        yaml.load(text, yaml.CSafeLoader)
        plain.append(time.process_time() - began)
    print(f"lines              {text.count(chr(10)) + 1:,}")
    print(f"plan               {statistics.median(ours):.2f} s ({min(ours):.2f}-{max(ours):.2f})")
    print(f"YAML alone, libyaml {statistics.median(plain):.2f} s")


if __name__ == "__main__":
    main()
