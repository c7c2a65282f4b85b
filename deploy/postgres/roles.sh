#!/bin/bash
# Makes the databases and the roles, with the passwords in the volume of secrets. It runs at each start of the stack, and
# changes only what is different.
set -euo pipefail
secrets=/run/flowyard/postgres
PGPASSWORD=$(cat $secrets/postgres_password)
OWNER=$(cat $secrets/postgres_owner_password)
REGISTRY=$(cat $secrets/postgres_registry_password)
EXECUTOR=$(cat $secrets/postgres_executor_password)
GATEWAY=$(cat $secrets/postgres_gateway_password)
DASHBOARD=$(cat $secrets/postgres_dashboard_password)
MLFLOW=$(cat $secrets/postgres_mlflow_password)
export PGPASSWORD OWNER REGISTRY EXECUTOR GATEWAY DASHBOARD MLFLOW
# `docker compose restart` starts both at once.
for _ in {1..60}; do
    pg_isready --quiet --host postgres && break
    sleep 1
done
exec psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --host postgres --username postgres --dbname postgres \
    --file /etc/flowyard/roles.sql
