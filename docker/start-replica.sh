#!/bin/sh
# A streaming replica: copied from the primary when its data directory is empty, then started.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  install -d -m 0700 -o postgres -g postgres "$PGDATA"
  PGPASSWORD="$REPLICATOR_PASSWORD" gosu postgres pg_basebackup \
    -h primary -U replicator -D "$PGDATA" -R -C -S "$REPLICA_SLOT"
fi
exec gosu postgres postgres -c hot_standby_feedback=on
