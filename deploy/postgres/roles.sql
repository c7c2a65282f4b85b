-- Who may do what. Run by roles.sh, as often as one likes.

-- Passwords come from the environment, and get into no log.
\getenv owner OWNER
\getenv registry REGISTRY
\getenv executor EXECUTOR
\getenv gateway GATEWAY
\getenv dashboard DASHBOARD
\getenv mlflow MLFLOW
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
SET client_min_messages = 'warning';

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY[
    'flowyard_owner', 'flowyard', 'flowyard_registry', 'flowyard_executor', 'flowyard_gateway', 'flowyard_dashboard',
    'mlflow'
]) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)
\gexec
ALTER ROLE flowyard_owner LOGIN PASSWORD :'owner';
ALTER ROLE flowyard_registry LOGIN PASSWORD :'registry';
ALTER ROLE flowyard_executor LOGIN PASSWORD :'executor';
ALTER ROLE flowyard_gateway LOGIN PASSWORD :'gateway';
ALTER ROLE flowyard_dashboard LOGIN PASSWORD :'dashboard';
ALTER ROLE mlflow LOGIN PASSWORD :'mlflow';
-- What all services may do. In releases before, they all came as this role.
ALTER ROLE flowyard NOLOGIN PASSWORD NULL;
GRANT flowyard TO flowyard_registry, flowyard_executor, flowyard_gateway, flowyard_dashboard;

SELECT format('CREATE DATABASE %I OWNER %I', name, owner)
FROM (VALUES ('flowyard', 'flowyard_owner'), ('mlflow', 'mlflow')) AS wanted (name, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name)
\gexec
REVOKE ALL ON DATABASE flowyard, mlflow, postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE flowyard TO flowyard;

-- The owner makes tables, the services use them: those of later migrations too.
\connect flowyard
SET client_min_messages = 'warning';
CREATE EXTENSION IF NOT EXISTS vector;
GRANT USAGE, CREATE ON SCHEMA public TO flowyard_owner;
GRANT USAGE ON SCHEMA public TO flowyard;
ALTER DEFAULT PRIVILEGES FOR ROLE flowyard_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO flowyard;
ALTER DEFAULT PRIVILEGES FOR ROLE flowyard_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO flowyard;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO flowyard;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO flowyard;

\connect mlflow
SET client_min_messages = 'warning';
GRANT USAGE, CREATE ON SCHEMA public TO mlflow;
