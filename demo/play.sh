#!/bin/sh
# Plays six scenes on a fresh project in .ridgeway/demo, each with the command it runs, and checks how each ends.
# `make demo` installs everything first and then calls this.
set -eu
cd "$(dirname "$0")/.."
project=.ridgeway/demo
bin=$(pwd)/.venv/bin
PATH=$bin:$PATH
export PATH

title() { printf '\n── %s\n' "$*"; }
stop() { printf '\ndemo: %s\n' "$*" >&2; exit 1; }
now() { python -c 'import time; print(f"{time.time():.1f}")'; }
since() { awk -v from="$1" -v to="$(now)" 'BEGIN { printf "%.1f s", to - from }'; }

# Where a scene goes wrong, all that the scenes have started is stopped; at a good end the endpoints go on answering.
finish() {
    code=$?
    trap - EXIT
    rm -f "$result"
    [ "$code" = 0 ] || [ ! -d "$start/$project" ] || (cd "$start/$project" && ridgeway down) >/dev/null 2>&1 || true
    exit "$code"
}
start=$(pwd)
result=$(mktemp)
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# play CODE TEXT ARGUMENT…: shows and runs `ridgeway ARGUMENT…`, which must end with CODE and print TEXT on stdout.
play() {
    code=$1 text=$2
    shift 2
    printf '$ ridgeway'
    for word in "$@"; do
        case $word in *[\[\"\ ]*) printf " '%s'" "$word" ;; *) printf ' %s' "$word" ;; esac
    done
    printf '\n'
    ended=0
    ridgeway "$@" >"$result" || ended=$?
    cat "$result"
    [ "$ended" = "$code" ] || stop "this scene should end with exit code $code and ended with $ended"
    [ -z "$text" ] || grep -qF -- "$text" "$result" || stop "this scene should say $text"
}

began=$(now)
title "A new project"
if [ -d "$project" ]; then
    (cd "$project" && ridgeway down) >/dev/null 2>&1 || true
    rm -rf "$project"
fi
mkdir -p .ridgeway
play 0 "" new "$project"
printf '$ cd %s\n' "$project"
cd "$project"

title "Scene 1: a first model on three columns only. Nothing to compare with yet: it must beat predicting the mean"
play 0 models:/diabetes/1 run retraining --set 'data.ignore=["bp","s1","s2","s3","s4","s5","s6"]'

title "Scene 2: its release. Tried in QA, then it waits for a person; a yes, and it is in production"
play 5 releases:/diabetes/1 run release models:/diabetes/1
play 0 releases:/diabetes/1 approve releases:/diabetes/1 --reason 'a first model to start with'

title "Scene 3: a delivery with the body mass index in pounds per square metre: refused, and nothing is trained on it"
pounds='NR == 1 { for (i = 1; i <= NF; i++) if ($i == "bmi") bmi = i } NR > 1 { $bmi *= 2.2046 } 1'
printf "\$ awk -F, -v OFS=, '%s' data/diabetes.csv >wrong-units.csv\n" "$pounds"
awk -F, -v OFS=, "$pounds" data/diabetes.csv >wrong-units.csv
play 65 "" run retraining --data wrong-units.csv

title "Scene 4: all columns. Judged against the champion, on the same rows that neither has seen"
play 0 models:/diabetes/2 run retraining

title "Scene 5: the same again. Nothing is trained, and nothing is registered twice"
again=$(now)
play 0 models:/diabetes/2 run retraining
printf 'That took %s.\n' "$(since "$again")"

title "Scene 6: the better model takes the place of the first one, without a lost request"
play 5 releases:/diabetes/2 run release models:/diabetes/2
play 0 releases:/diabetes/2 approve releases:/diabetes/2 --reason 'better on unseen rows'
play 0 models:/diabetes/2 list models
play 0 'models:/diabetes/2' show production

title "Done in $(since "$began")"
cat <<'NEXT'
Your own data, with a model that fits it and tests that pass (from the folder where this began):
    .venv/bin/ridgeway new churn --data churn.parquet --label churned
The numbers behind the verdict, and where the report is; the way back to the first model; the end of all of it:
NEXT
printf '    cd %s && ../../.venv/bin/ridgeway show models:/diabetes/2\n' "$project"
printf '    cd %s && ../../.venv/bin/ridgeway rollback production\n' "$project"
printf '    cd %s && ../../.venv/bin/ridgeway down\n' "$project"
printf 'Production answers:\n    %s\n' "$(ridgeway keys production | tail -n 1)"
