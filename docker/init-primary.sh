#!/bin/sh
# Runs once, on an empty primary: roles, the database, and the right of the replicas to connect.
set -eu
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" -f /tenantry/roles.sql
psql -v ON_ERROR_STOP=1 -U "$POSTGRES_USER" \
  -v owner="$TENANTRY_OWNER_PASSWORD" -v app="$TENANTRY_APP_PASSWORD" -v replicator="$REPLICATOR_PASSWORD" <<'SQL'
alter role tenantry_owner password :'owner';
alter role tenantry_app password :'app';
create role replicator login replication password :'replicator';
create database tenantry owner tenantry_owner;
revoke all on database tenantry from public;
grant connect on database tenantry to tenantry_app;
SQL
echo 'host replication replicator all scram-sha-256' >> "$PGDATA/pg_hba.conf"
