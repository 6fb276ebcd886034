#!/usr/bin/env bash
# A dump of Wikipedia, or your own text → a pretrained Japanese ALBERT: the flow on one page.
#
#   scripts/pretrain.sh                                                            all of Wikipedia, two hours
#   DUMP=my-texts/ SHARDS=8 MODEL=wordpiece SIZE=small HOURS=8 scripts/pretrain.sh
#
# Every line is a command of its own: run it alone, repeat it, stop it. A stopped line resumes, a finished one does
# nothing. Options are variables (make help).
set -euo pipefail
cd "$(dirname "$0")/.."

export DUMP="${DUMP:-latest}" MODEL="${MODEL:-character}" SIZE="${SIZE:-tiny}"
export UNMASKED=1 DUPE_FACTOR=1 # one copy is enough: the recipe masks anew at every step

# Time and memory: TIMES
make corpus   # sentences in shards         
make vocab    # both vocabularies           
make tfrecords # examples                   
make train    # HOURS, 2 without it         
make evaluate # on text that it has not seen
make tokenize TEXT=文字単位で分かち書きをします。
