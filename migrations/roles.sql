-- The two roles of Tenantry, to be made once per PostgreSQL server by a superuser, before the first migration.
-- Both log in; give each a password with ALTER ROLE … PASSWORD.

-- Owns every schema and table: migrations, provisioning. It must own the database, too:
--   create database tenantry owner tenantry_owner;
create role tenantry_owner login nosuperuser nocreatedb nocreaterole nobypassrls;

-- Serves tenants. It owns nothing, so row level security binds it.
create role tenantry_app login nosuperuser nocreatedb nocreaterole nobypassrls;

alter role tenantry_owner set timezone = 'UTC';
alter role tenantry_app set timezone = 'UTC';
-- A statement runs in one process: with parallel workers a tenant's share of the connections would not be its share of
-- the cores.
alter role tenantry_app set max_parallel_workers_per_gather = 0;
