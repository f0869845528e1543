#!/bin/sh
# A tuning job configured by its environment alone: no flag is typed. Change a setting here, or set it where the job is
# defined; the program reads both spellings.
#
#     BIN=target/release/state-tune OUT=out examples/ci-job.sh
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
BIN=${BIN:-$root/target/release/state-tune}
OUT=${OUT:-$(mktemp -d)}

# What every shell can spell: STATE_TUNE_ and the flag's name in capitals.
export STATE_TUNE_MODEL_LOCATION="${STATE_TUNE_MODEL_LOCATION:-$root/examples/tiny/model.pth}"
export STATE_TUNE_DATA_PATH="${STATE_TUNE_DATA_PATH:-$root/examples/tiny/train.jsonl}"
export STATE_TUNE_SAVE_FILENAME="$OUT/state.pth"
export STATE_TUNE_MAX_EPOCHS="${STATE_TUNE_MAX_EPOCHS:-1}"
export STATE_TUNE_EXIT_LOSS="${STATE_TUNE_EXIT_LOSS:-0}"

# The flags themselves as names of variables, which `env` can set. They win over the spelling above.
env -- '--learningrate=0.1' "--log_file=$OUT/log.jsonl" "$BIN"

# The same job's state, asked something. In texts, \n is a newline.
env -- '--prompt=user: What is the colour of snow?\n\nassistant:' '--max_tokens=30' "$BIN"
