#!/usr/bin/env bash
# Whether this tree trains as BASE does, bit for bit: scripts/same-run.sh BASE [CONFIGURATION …]
#
# Builds BASE (a commit, tag or branch) and the working tree, runs tiny configurations on both and compares the SHA-256 of every
# tensor and metrics.jsonl without its times; then this tree resumes a checkpoint of BASE from each phase and must end where
# BASE ends. A step of a refactoring passes this, or says which bits it changes and why. PROFILE=dev compares debug builds: the bits
# are those of release builds, and `make test` has built one side already.
set -euo pipefail
cd "$(dirname "$0")/.."

base=${1:?usage: scripts/same-run.sh BASE [CONFIGURATION …]}
shift
commit=$(git rev-parse --verify --quiet "$base^{commit}") || {
    echo "same-run: \`$base\` is no commit, tag or branch of this repository" >&2
    exit 2
}
profile=${PROFILE:-release}
built=$profile
[[ $profile != dev ]] || built=debug
scripts/setup.sh

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
work=$target/same-run
tree=$work/tree
mkdir -p "$work"
git worktree prune
if [[ -d $tree ]]; then
    git -C "$tree" checkout --quiet --detach "$commit"
else
    git worktree add --quiet --detach "$tree" "$commit"
fi

# A folder of its own: in a shared one cargo takes the files of one tree for those of the other.
echo "== building $base ($commit)"
(cd "$tree" && CARGO_TARGET_DIR=$work/base cargo build --workspace --profile "$profile" --quiet --bin sadm)
echo "== building the working tree"
cargo build --workspace --profile "$profile" --quiet --bin sadm

python3 scripts/same_run.py "$work/base/$built/sadm" "$target/$built/sadm" "$work/runs" "$@"
