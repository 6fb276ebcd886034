#!/usr/bin/env bash
# BUCKET=bucket[/prefix] of Cloud Storage → /mnt/data, until SIGTERM; what is not uploaded by then is waited for.
#
# mount-bucket                    mount it; the files belong to RUN_AS=uid:gid
# mount-bucket uploaded FOLDER    wait until everything that was written below a folder of it is in the bucket
# mount-bucket clear              take away what a mount that was killed left behind; fails where that is data
#
# Credentials are the application default ones; STORAGE_EMULATOR_HOST is an emulator's address, and needs none.
set -euo pipefail
target=/mnt/data
cache=/cache

# A file that is written from its beginning is streamed to the bucket, and close() waits for its end. Only one that is
# appended to goes through the cache, and is uploaded some seconds after it is closed. The other modes of the cache
# upload everything behind close(): the manifest could be in the bucket before the files that it names.
mount_flags=(
    --vfs-cache-mode minimal --vfs-cache-max-age 10m --dir-cache-time 10s
    --allow-other --default-permissions --umask 022
)
# Access is the bucket's matter (an object ACL is refused where it has uniform access), and no bucket is made here.
export RCLONE_CONFIG="" RCLONE_CACHE_DIR=$cache RCLONE_GCS_BUCKET_POLICY_ONLY=true RCLONE_GCS_NO_CHECK_BUCKET=true

fail() {
    echo "mount: error: $*" >&2
    exit 2
}

# The files below a folder of the bucket whose last bytes are here only: rclone keeps a record of each.
waiting() {
    [ ! -d "$cache/vfsMeta" ] || grep -rlF '"Dirty": true' "$cache/vfsMeta" | grep -F "/${1:+$1/}" || true
}

uploaded() {
    local folder=$1 files told=0
    while files=$(waiting "$folder") && [ -n "$files" ]; do
        if ((told++ % 20 == 0)); then
            echo "mount: still to be uploaded below gs://$folder: $(wc -l <<<"$files") file(s)" >&2
        fi
        sleep 0.5
    done
}

# A mount whose rclone is dead is there until somebody takes it away, and whoever looks into it gets an error.
clear_stale() {
    while grep -q " $target fuse" /proc/mounts; do umount --lazy "$target"; done
}

bucket=${BUCKET:-}
bucket=${bucket#gs://}
bucket=${bucket%/}
case ${1:-} in
uploaded)
    uploaded "$bucket${2:+/$2}"
    exit
    ;;
clear)
    clear_stale
    [ -z "$(waiting "$bucket")" ] || fail "not everything is uploaded; make mount with the same BUCKET resumes"
    exit
    ;;
esac

[[ $bucket =~ ^[a-z0-9][a-z0-9._-]+[a-z0-9](/.+)?$ ]] || fail "BUCKET=${BUCKET:-} is no bucket[/prefix]"
if [ -n "${STORAGE_EMULATOR_HOST:-}" ]; then
    server=${STORAGE_EMULATOR_HOST%/}
    [[ $server == *://* ]] || server=http://$server
    export RCLONE_GCS_ANONYMOUS=true RCLONE_GCS_ENDPOINT=$server/storage/v1/
fi
clear_stale
said=$(timeout 60 rclone --retries 1 --low-level-retries 3 lsf --max-depth 1 ":gcs:$bucket" 2>&1 >/dev/null) || {
    case $? in
    3) fail "there is no bucket ${bucket%%/*}, or it may not be seen with these credentials" ;;
    124) fail "no answer for gs://$bucket within a minute" ;;
    *) fail "cannot list gs://$bucket: $(tail -n 1 <<<"${said##*: error: }" | sed -E 's/^[0-9/]+ [0-9:]+ //')" ;;
    esac
}

# What rclone said last is what it died of.
last_words() {
    while read -r line; do
        echo "$line" >&2
        echo "$line" >/tmp/last-words
    done
}
rclone mount ":gcs:$bucket" "$target" "${mount_flags[@]}" --uid "${RUN_AS%%:*}" --gid "${RUN_AS##*:}" \
    2> >(last_words) &
rclone=$!
ended=false
trap 'ended=true' TERM INT
echo "mount: gs://$bucket"
wait "$rclone" || true
if $ended; then
    uploaded "$bucket"
    umount "$target" || umount --lazy "$target"
    wait "$rclone" || true
    exit 0
fi
clear_stale
sleep 0.2
fail "rclone has ended: $(sed -E "s/^[0-9/]+ [0-9:]+ //" /tmp/last-words 2>/dev/null)"
