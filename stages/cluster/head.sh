#!/bin/sh
# The head of a Ray cluster, which makes the token that workers and drivers need. The service ray-head runs it.
set -eu
if [ ! -s /cluster/token ]; then
    (umask 077 && python -c "import secrets; print(secrets.token_hex(32))" >/cluster/token)
fi
exec ray start --head --block --num-cpus=0 --object-store-memory=320000000 --include-dashboard=false
