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

# Wall time and the memory of a process, on two cores of an EPYC, for 15,174 texts of 56 million characters.
make corpus    # sentences in shards            2 s    80 MB
make vocab     # both vocabularies             17 s   610 MB
make tfrecords # examples of both models        3 s    60 MB
make train     # HOURS, two without it         2 h    1.3 GB in each of two processes
make evaluate  # on text that it has not seen  2 min  900 MB
make tokenize TEXT=文字単位で分かち書きをします。
