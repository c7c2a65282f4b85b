"""What tests share.

- Documents: `stories` (workflows that several tests run), `workflows` (documents and models for tests of the engine),
  `shapes` (a document of each shape), `documents` (those that we publish), `upgrade` (data of an older version).
- In a database: `queued` (workflows and queued runs), `stored` (all stores), `rows`, `attempts` (claimed runs, executed
  by the real attempt), `hands` (an executor without an engine), `ledger`; without one: `finished_runs`.
- Processes: `servers` (Postgres and NATS), `executors`, `in_process` (an executor in the process of the test), `stack`
  and `standin` (`flowyard up`), `compose` and `images` (containers), `cli` and `remote` (the command line), `mlflow`,
  `prometheus`, `otlp` (a receiver), `wrong_clock`, `database_clock` (of a Postgres).
- Whole systems: `system` (embedded or containers), `visitor` (a client with a key, and its model), `chains` (runs that
  are held in a step), `canaries` (values that must be found nowhere), `panels` (queries of the dashboards).
- For all of them: `waiting` (until something holds), `limits` (a test's time), `exporting`, `wire` (model providers).
"""
