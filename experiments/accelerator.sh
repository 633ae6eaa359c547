#!/bin/bash
# What there is to measure on a machine with an accelerator, from a checkout:
#
#   experiments/accelerator.sh OUT
#
# Needs Python with jax, flax, optax, orbax-checkpoint, absl-py and numpy, and nothing else; pytest,
# torch and matplotlib are used where they are. Three parts, each within a limit of time; what a
# part has when its time is over is there. A second call with the same OUT adds what is missing.
#
#   kernels  a self-check (and the tests, with pytest); forward kinematics, gradient and fit for
#            256 to 1,000,000 poses, beside torch.compile of the same formulas
#   human    all methods and three seeds on packed pictures (experiments.pack_data)
#   toy      all methods, all complexities and five seeds
#
# Settings, by environment variables: PARTS, the limits KERNELS_S, HUMAN_S and TOY_S in seconds,
# BATCHES, POSES, TESTS, DATASET, DATA_DIR, HUMAN_FLAGS, TOY_FLAGS, PYTHON; SLOWER, how many times as long
# a program of the first part may take.
set -u
if [ $# -ne 1 ]; then
  sed -n '2,/^set -u/p' "$0" | sed '$d; s/^# \{0,1\}//' >&2
  exit 2
fi
mkdir -p "$1" || exit 1
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/.." || exit 1

PARTS=${PARTS:-kernels human toy}
KERNELS_S=${KERNELS_S:-240} HUMAN_S=${HUMAN_S:-480} TOY_S=${TOY_S:-480}
BATCHES=${BATCHES:-256 4096 65536 1000000}
POSES=${POSES:-4096}
TESTS=${TESTS-tests/test_kinematics.py tests/test_fitting.py tests/test_train.py}
DATA_DIR=${DATA_DIR:-packed}
DATASET=${DATASET:-rendered_people/varied_64}
HUMAN_FLAGS=${HUMAN_FLAGS:---depth=18 --epochs=12 --batch_size=64 --learning_rate=0.001 --seeds=0,1,2}
TOY_FLAGS=${TOY_FLAGS:---num_params=3,6,8,10 --epochs=10 --batch_size=256 --seeds=0,1,2,3,4}
PYTHON=${PYTHON:-python3} SLOWER=${SLOWER:-1}
export XLA_PYTHON_CLIENT_PREALLOCATE=${XLA_PYTHON_CLIENT_PREALLOCATE:-false} # contenders share a card
export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR:-$out/compiled}
status=0

# within LIMIT NAME COMMAND...: until `end`, or LIMIT seconds from now; what it says goes to NAME.log.
within() {
  local limit=$1 name=$2 left=$((end - $(date +%s)))
  shift 2
  [ "$limit" -gt "$left" ] && limit=$left
  if [ "$limit" -lt 1 ]; then
    echo "$name: no time left" | tee -a "$out/summary.txt"
    return
  fi
  local start code
  start=$(date +%s)
  timeout -k 30 "$limit" "$@" >>"$out/$name.log" 2>&1 </dev/null
  code=$?
  case $code in
    0) local how=done ;;
    124 | 137 | 143) local how="stopped by its limit of $limit s" ;;
    *) local how="FAILED with status $code" && status=1 ;;
  esac
  echo "$name: $how after $(($(date +%s) - start)) s" | tee -a "$out/summary.txt"
}

begin() { end=$(($(date +%s) + $1)); }

{
  date -u +%FT%TZ
  echo "commit ${COMMIT:-$(git rev-parse HEAD 2>/dev/null || echo unknown)}"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null ||
    echo "no NVIDIA card"
} | tee -a "$out/summary.txt"

for part in $PARTS; do
  case $part in
    kernels)
      begin "$KERNELS_S"
      within $((100 * SLOWER)) self_check "$PYTHON" -m experiments.self_check --num_poses="$POSES" \
        --report="$out/self_check.json"
      for batch in $BATCHES; do
        [ -e "$out/fk_$batch.json" ] || within $((60 * SLOWER)) fk "$PYTHON" -m experiments.benchmark --suite=fk \
          --contenders=kinpose,torch-compile --rounds=3 --batch="$batch" \
          --workloads="human_17 forward,human_17 value and gradient" --output="$out/fk_$batch.json"
        [ -e "$out/fit_$batch.json" ] || within $((90 * SLOWER)) fit "$PYTHON" -m experiments.benchmark \
          --suite=fit --contenders=kinpose --rounds=3 --batch="$batch" --workloads=reachable \
          --output="$out/fit_$batch.json"
      done
      if [ -z "$TESTS" ]; then
        :
      elif "$PYTHON" -c "import pytest" 2>/dev/null; then
        # shellcheck disable=SC2086
        within $((120 * SLOWER)) tests "$PYTHON" -m pytest -q -p no:cacheprovider $TESTS
      else
        echo "tests: pytest is not installed; self_check stands in" | tee -a "$out/summary.txt"
      fi
      ;;
    human)
      begin "$HUMAN_S"
      # shellcheck disable=SC2086
      within "$HUMAN_S" human "$PYTHON" -m experiments.human --dataset="$DATASET" \
        --data_dir="$DATA_DIR" --workdir="$out/human" $HUMAN_FLAGS
      ;;
    toy)
      begin "$TOY_S"
      # shellcheck disable=SC2086
      within "$TOY_S" toy "$PYTHON" -m experiments.toy --workdir="$out/toy" $TOY_FLAGS
      ;;
    *)
      echo "there is no part $part; choose from kernels, human, toy" >&2
      exit 2
      ;;
  esac
done

if [ -z "${KEEP_CHECKPOINTS:-}" ]; then # large; predictions, scores and curves stay
  find "$out" -type d -name checkpoints -prune -exec rm -rf {} +
fi
case $JAX_COMPILATION_CACHE_DIR in "$out"/*) rm -rf "$JAX_COMPILATION_CACHE_DIR" ;; esac
exit $status
