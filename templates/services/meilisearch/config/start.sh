#!/bin/sh
# Meilisearch takes its master key from the environment, from its command line or from a TOML file of its own, and not
# from a file that holds the key alone. Read here, the key is in no Compose file, no `docker inspect` and no argument.
set -eu
MEILI_MASTER_KEY=$(cat /run/secrets/MEILI_MASTER_KEY)
if [ "${#MEILI_MASTER_KEY}" -lt 16 ]; then
    echo "MEILI_MASTER_KEY has fewer than 16 characters: Meilisearch would refuse it" >&2
    exit 1
fi
export MEILI_MASTER_KEY
mkdir -p "$MEILI_DUMP_DIR" "$MEILI_SNAPSHOT_DIR" "$TMPDIR"
exec /bin/meilisearch
