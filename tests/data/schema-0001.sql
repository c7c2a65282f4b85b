-- A database of schema 0001 with unfinished runs: one that waits to ask its model again, one that is queued, and two
-- whose executor was killed at their second step, and amid the items of a map. As pg_dump --inserts of Postgres 17 wrote
-- it, without comments and settings; all times a year earlier, so that everything is due.
CREATE FUNCTION public.claim_runs(p_executor text, p_most integer, p_lease interval) RETURNS TABLE(run_id uuid, epoch integer, workflow text, revision integer, definition integer, digest text, inputs json, fork json, attempt smallint, max_attempts smallint, last_seq integer, head_checkpoint text, has_steps boolean, timeout_s real, left_s double precision, waited_s double precision, cancel_requested boolean, started_at timestamp with time zone, at timestamp with time zone)
    LANGUAGE plpgsql
    AS $$
BEGIN
    -- One claim at a time: how many runs of a workflow are running must not change between counting and taking. Each
    -- statement below sees what was committed before it began, so it has to come after the lock and not beside it.
    PERFORM pg_advisory_xact_lock(4611921704);
    RETURN QUERY
    WITH running AS (
        SELECT r.workflow, count(*)::integer AS n FROM runs r WHERE r.status = 'running' GROUP BY r.workflow
    ),
    offered AS (
        SELECT q.id, q.priority, q.queued_at,
            -- The first run of each workflow comes before the second run of any; what runs already counts.
            coalesce(running.n, 0) + row_number() OVER (
                PARTITION BY w.name ORDER BY q.priority DESC, q.queued_at, q.id
            ) AS turn
        FROM workflows w
        LEFT JOIN running ON running.workflow = w.name
        CROSS JOIN LATERAL (
            SELECT r.id, r.priority, r.queued_at FROM runs r
            WHERE r.workflow = w.name AND r.status = 'queued'
            ORDER BY r.priority DESC, r.queued_at
            LIMIT greatest(0, least(p_most, w.concurrency - coalesce(running.n, 0)))
        ) q
    ),
    chosen AS (
        SELECT o.id FROM offered o ORDER BY o.priority DESC, o.turn, o.queued_at, o.id LIMIT p_most
    ),
    free AS (
        SELECT r.id FROM runs r JOIN chosen USING (id) WHERE r.status = 'queued' FOR UPDATE OF r SKIP LOCKED
    ),
    taken AS (
        UPDATE runs r SET status = 'running', attempt = r.attempt + 1, epoch = r.epoch + 1, wake_at = NULL,
            started_at = coalesce(r.started_at, clock_timestamp()),
            deadline = coalesce(r.deadline, clock_timestamp() + make_interval(secs => r.timeout_s))
        FROM free WHERE r.id = free.id
        RETURNING r.*
    ),
    held AS (
        INSERT INTO claims AS c (run_id, epoch, last_seq, lease_until, executor)
        SELECT t.id, t.epoch, t.last_seq, clock_timestamp() + p_lease, p_executor FROM taken t
        ON CONFLICT ON CONSTRAINT pk_claims DO UPDATE
            SET epoch = excluded.epoch, lease_until = excluded.lease_until, executor = excluded.executor
        RETURNING c.run_id, c.last_seq, c.head_checkpoint
    )
    SELECT t.id, t.epoch, t.workflow, t.revision, t.definition, d.digest, t.inputs, t.fork, t.attempt, t.max_attempts,
        h.last_seq, h.head_checkpoint, EXISTS (SELECT 1 FROM steps s WHERE s.run_id = t.id), t.timeout_s,
        extract(epoch FROM t.deadline - clock_timestamp())::double precision,
        extract(epoch FROM clock_timestamp() - t.queued_at)::double precision,
        t.cancel_requested_at IS NOT NULL, t.started_at, clock_timestamp()
    FROM taken t JOIN held h ON h.run_id = t.id JOIN definitions d ON d.id = t.definition
    ORDER BY t.priority DESC, t.queued_at, t.id;
END
$$;
CREATE TABLE public.agents (
    id text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    version text NOT NULL,
    host text NOT NULL,
    capabilities json NOT NULL,
    load json NOT NULL,
    registered_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON COLUMN public.agents.load IS 'what its last heartbeat told';
CREATE TABLE public.alembic_version (
    version_num character varying(32) NOT NULL
);
CREATE TABLE public.api_keys (
    id text NOT NULL,
    name text NOT NULL,
    hash bytea NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone
);
COMMENT ON COLUMN public.api_keys.hash IS 'SHA-256 of the whole key';
CREATE TABLE public.checkpoint_values (
    thread_id text NOT NULL,
    digest text NOT NULL,
    value json NOT NULL
);
COMMENT ON TABLE public.checkpoint_values IS 'Large values of the state: checkpoints refer to them instead of repeating them.';
CREATE TABLE public.checkpoint_writes (
    thread_id text NOT NULL,
    ns text NOT NULL,
    checkpoint_id text NOT NULL,
    task_id text NOT NULL,
    index integer NOT NULL,
    task_path text NOT NULL,
    channel text NOT NULL,
    value json NOT NULL
);
COMMENT ON TABLE public.checkpoint_writes IS 'Results of steps whose superstep isn''t over.';
CREATE TABLE public.checkpoints (
    thread_id text NOT NULL,
    ns text NOT NULL,
    id text NOT NULL,
    parent text,
    checkpoint json NOT NULL,
    metadata json NOT NULL
)
WITH (autovacuum_vacuum_scale_factor='0.05');
COMMENT ON COLUMN public.checkpoints.thread_id IS 'the run';
CREATE TABLE public.claims (
    run_id uuid NOT NULL,
    epoch integer NOT NULL,
    last_seq integer NOT NULL,
    lease_until timestamp with time zone,
    executor text,
    head_checkpoint text
)
WITH (fillfactor='50', autovacuum_vacuum_scale_factor='0.05');
COMMENT ON TABLE public.claims IS 'One row per open run that was ever claimed: the only row that a step changes.';
COMMENT ON COLUMN public.claims.executor IS 'null: nobody has it now';
CREATE TABLE public.definitions (
    id integer NOT NULL,
    digest text NOT NULL,
    document text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON TABLE public.definitions IS 'Documents by their digest. Revisions and runs refer to them; one that nobody refers to is swept away.';
ALTER TABLE public.definitions ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.definitions_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.events (
    run_id uuid NOT NULL,
    seq integer NOT NULL,
    entries json NOT NULL
);
COMMENT ON TABLE public.events IS 'What was committed together is one row.';
COMMENT ON COLUMN public.events.seq IS 'of the last entry';
COMMENT ON COLUMN public.events.entries IS 'see `packing`';
CREATE TABLE public.model_calls (
    run_id uuid NOT NULL,
    seq integer NOT NULL,
    visit integer NOT NULL,
    item integer NOT NULL,
    tokens_in integer,
    tokens_out integer,
    tokens_cached integer,
    duration_s real NOT NULL,
    first_token_s real,
    at timestamp with time zone NOT NULL,
    node text NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    error text,
    cost_usd numeric
);
COMMENT ON COLUMN public.model_calls.seq IS 'of the event that tells of it';
COMMENT ON COLUMN public.model_calls.error IS 'its code';
COMMENT ON COLUMN public.model_calls.cost_usd IS 'null: unknown, which is not zero';
CREATE TABLE public.revisions (
    workflow text NOT NULL,
    number integer NOT NULL,
    definition integer NOT NULL,
    restores integer,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON COLUMN public.revisions.restores IS 'the number of the revision that a rollback brought back';
CREATE TABLE public.runs (
    id uuid NOT NULL,
    definition integer NOT NULL,
    revision integer NOT NULL,
    epoch integer DEFAULT 0 NOT NULL,
    last_seq integer NOT NULL,
    priority smallint NOT NULL,
    attempt smallint DEFAULT 0 NOT NULL,
    max_attempts smallint NOT NULL,
    timeout_s real,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    queued_at timestamp with time zone DEFAULT now() NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    wake_at timestamp with time zone,
    deadline timestamp with time zone,
    cancel_requested_at timestamp with time zone,
    fingerprint bytea,
    forked_from uuid,
    workflow text NOT NULL,
    status text NOT NULL,
    key text,
    inputs json NOT NULL,
    outputs json,
    error json,
    fork json,
    CONSTRAINT ck_runs_finished CHECK (((finished_at IS NULL) = (status = ANY (ARRAY['queued'::text, 'running'::text, 'waiting'::text])))),
    CONSTRAINT ck_runs_status CHECK ((status = ANY (ARRAY['queued'::text, 'running'::text, 'waiting'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text]))),
    CONSTRAINT ck_runs_wakes CHECK (((status <> 'waiting'::text) OR (wake_at IS NOT NULL)))
);
COMMENT ON COLUMN public.runs.epoch IS 'of the last claim';
COMMENT ON COLUMN public.runs.last_seq IS 'of the last event, while there is no claim';
COMMENT ON COLUMN public.runs.key IS 'Idempotency-Key, and whose it is';
COMMENT ON COLUMN public.runs.fork IS 'the step before which it leaves its origin, and the changed fields';
CREATE TABLE public.sessions (
    hash bytea NOT NULL,
    key_id text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
COMMENT ON COLUMN public.sessions.hash IS 'SHA-256 of the cookie';
CREATE TABLE public.steps (
    run_id uuid NOT NULL,
    visit integer NOT NULL,
    item integer NOT NULL,
    seq integer NOT NULL,
    tries smallint NOT NULL,
    duration_s real NOT NULL,
    started_at timestamp with time zone NOT NULL,
    node text NOT NULL,
    status text NOT NULL,
    handled text,
    outputs json,
    error json,
    CONSTRAINT ck_steps_status CHECK ((status = ANY (ARRAY['succeeded'::text, 'failed'::text, 'waiting'::text])))
);
COMMENT ON COLUMN public.steps.item IS '-1: not an item of a map';
COMMENT ON COLUMN public.steps.seq IS 'of the event that ended it';
CREATE TABLE public.workflows (
    name text NOT NULL,
    revision integer NOT NULL,
    concurrency integer,
    priority smallint NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL
);
COMMENT ON COLUMN public.workflows.revision IS 'the number of the current one';
COMMENT ON COLUMN public.workflows.concurrency IS 'how many of its runs may run at once; null: no limit';
INSERT INTO public.alembic_version VALUES
	('0001');
INSERT INTO public.checkpoint_writes VALUES
	('01a2074a-c388-7536-9d1d-c98ab561996e', '', '1f1e70ef-03c8-6ea6-8001-53200cd3a506', '1b766c88-3e2d-8f66-ee08-46f7578fb05b', 1, '~__pregel_push, 0000000000, 0000000000', 'branch:to:write~collect', '[null,null]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', '', '1f1e70ef-03c8-6ea6-8001-53200cd3a506', '1b766c88-3e2d-8f66-ee08-46f7578fb05b', 0, '~__pregel_push, 0000000000, 0000000000', '~results', '[[["write",0,["old"]]],null]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', '', '1f1e70ef-03c8-6ea6-8001-53200cd3a506', '6aea2572-2ac8-8283-1027-ec0519b3ed8d', 0, '~__pregel_push, 0000000001, 0000000000', '~results', '[[["write",1,["old"]]],null]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', '', '1f1e70ef-03c8-6ea6-8001-53200cd3a506', '6aea2572-2ac8-8283-1027-ec0519b3ed8d', 1, '~__pregel_push, 0000000001, 0000000000', 'branch:to:write~collect', '[null,null]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', '', '1f1e70ef-03c8-6ea6-8001-53200cd3a506', '9913725c-3356-ed52-94db-4d10b67d6611', 0, '~__pregel_push, 0000000003, 0000000000', '~results', '[[["write",3,["old"]]],null]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', '', '1f1e70ef-03c8-6ea6-8001-53200cd3a506', '9913725c-3356-ed52-94db-4d10b67d6611', 1, '~__pregel_push, 0000000003, 0000000000', 'branch:to:write~collect', '[null,null]');
INSERT INTO public.checkpoints VALUES
	('01a2074a-c388-7536-9d1d-c98ab561996e', '', '1f1e70ef-03c8-6ea6-8001-53200cd3a506', '1f1e70ef-039b-63fa-8000-03df9dba6d27', '{"v":4,"ts":"2026-11-23T07:24:37.125474+00:00","id":"1f1e70ef-03c8-6ea6-8001-53200cd3a506","channel_versions":{"__start__":2,"topics":2,"lines":2,"line":2,"branch:to:~start":3,"__pregel_tasks":3},"versions_seen":{"__input__":{},"__start__":{"__start__":1},"~start":{"branch:to:~start":2}},"updated_channels":["__pregel_tasks"],"values":{"topics":["a","b","c","d"],"lines":null,"line":null,"__pregel_tasks":[["write",{"index":0,"item":"a"}],["write",{"index":1,"item":"b"}],["write",{"index":2,"item":"c"}],["write",{"index":3,"item":"d"}]]},"kinds":{"__pregel_tasks":"sends"}}', '{"source":"loop","step":1,"parents":{}}'),
	('01a2074a-c345-7950-8026-dcfdff9a366c', '', '1f1e70ef-049b-65d7-8001-5479adbfe282', '1f1e70ef-038c-65c8-8000-9d298b4941bc', '{"v":4,"ts":"2026-11-23T07:24:37.211681+00:00","id":"1f1e70ef-049b-65d7-8001-5479adbfe282","channel_versions":{"__start__":2,"topic":2,"one":3,"two":2,"three":2,"branch:to:first":3,"branch:to:second":3},"versions_seen":{"__input__":{},"__start__":{"__start__":1},"first":{"branch:to:first":2}},"updated_channels":["branch:to:second","one"],"values":{"topic":"waiting","one":"old","two":null,"three":null,"branch:to:second":null}}', '{"source":"loop","step":1,"parents":{}}'),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', '', '1f1e70ef-049c-6a83-8001-56a1bf464493', '1f1e70ef-0390-62d7-8000-267ad16a23b2', '{"v":4,"ts":"2026-11-23T07:24:37.212217+00:00","id":"1f1e70ef-049c-6a83-8001-56a1bf464493","channel_versions":{"__start__":2,"topic":2,"one":3,"two":2,"three":2,"branch:to:first":3,"branch:to:second":3},"versions_seen":{"__input__":{},"__start__":{"__start__":1},"first":{"branch:to:first":2}},"updated_channels":["branch:to:second","one"],"values":{"topic":"killed","one":"old","two":null,"three":null,"branch:to:second":null}}', '{"source":"loop","step":1,"parents":{}}');
INSERT INTO public.claims VALUES
	('01a2074a-c388-7536-9d1d-c98ab561996e', 1, 12, '2025-11-23 07:24:47.234659+00', 'old', '1f1e70ef-03c8-6ea6-8001-53200cd3a506'),
	('01a2074a-c345-7950-8026-dcfdff9a366c', 2, 9, NULL, NULL, '1f1e70ef-049b-65d7-8001-5479adbfe282'),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', 1, 6, '2025-11-23 07:24:47.281331+00', 'old', '1f1e70ef-049c-6a83-8001-56a1bf464493');
INSERT INTO public.definitions OVERRIDING SYSTEM VALUE VALUES
	(1, 'b6b7a10e761809968c76d1d7c5f38cb834aa0a6e84000986917e3a22f3a942aa', 'flow: {name: chain}
state:
  fields:
    topic: {type: str, required: true}
    one: str
    two: str
    three: str
nodes:
  - {id: first, prompt: ''First {topic}.'', outputs: [one]}
  - {id: second, prompt: ''Second {topic}.'', outputs: [two]}
  - {id: third, prompt: ''Third {topic}.'', outputs: [three]}
config:
  llm: {provider: ollama, model: m}
', '2025-11-23 07:24:26.151094+00'),
	(2, '32ef050c42964c458b1414f837772e49f175e3b68ebad155ae49b9f614b20331', 'flow: {name: many}
state:
  fields:
    topics: {type: ''list[str]'', required: true}
    lines: ''list[str]''
    line: str
nodes:
  - {id: write, prompt: ''Write {item}.'', outputs: [line]}
edges:
  - {from: START, parallel: {items_field: topics, target_node: write, collect_field: lines}}
  - {from: write, to: END}
config:
  llm: {provider: ollama, model: m}
', '2025-11-23 07:24:26.165804+00');
INSERT INTO public.events VALUES
	('01a2074a-c345-7950-8026-dcfdff9a366c', 1, '[[1795418669894500, "run.queued", {}]]'),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', 1, '[[1795418669955720, "run.queued", {}]]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 1, '[[1795418669960607, "run.queued", {}]]'),
	('01a2074a-c345-7950-8026-dcfdff9a366c', 2, '[[1795418670260915,"run.started",{"workflow":"chain","attempt":1,"executor":"old"}]]'),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', 2, '[[1795418670261082,"run.started",{"workflow":"chain","attempt":1,"executor":"old"}]]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 2, '[[1795418670261107,"run.started",{"workflow":"many","attempt":1,"executor":"old"}]]'),
	('01a2074a-c345-7950-8026-dcfdff9a366c', 3, '[[1795418677102720,"step.started",{"n":"first"}]]'),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', 3, '[[1795418677107201,"step.started",{"n":"first"}]]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 6, '[[1795418677126897,"step.started",{"n":"write","item":0}],[999,"step.started",{"n":"write","item":1}],[354,"step.started",{"n":"write","item":2}],[6966,"step.started",{"n":"write","item":3}]]'),
	('01a2074a-c345-7950-8026-dcfdff9a366c', 5, '[[1795418677204688,"model.called",{"n":"first","provider":"ollama","model":"m","duration_s":0.101862,"tokens_in":20,"tokens_out":5,"cost_usd":"0","first_token_s":0.051358}],[14640,"step.finished",{"n":"first","duration_s":0.102048,"outputs":{"one":"old"},"calls":1,"tokens_in":20,"tokens_out":5,"cost_usd":"0"}]]'),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', 5, '[[1795418677205000,"model.called",{"n":"first","provider":"ollama","model":"m","duration_s":0.097734,"tokens_in":20,"tokens_out":5,"cost_usd":"0","first_token_s":0.054366}],[14567,"step.finished",{"n":"first","duration_s":0.09784,"outputs":{"one":"old"},"calls":1,"tokens_in":20,"tokens_out":5,"cost_usd":"0"}]]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 10, '[[1795418677210303,"model.called",{"n":"write","item":0,"provider":"ollama","model":"m","duration_s":0.083317,"tokens_in":20,"tokens_out":5,"cost_usd":"0","first_token_s":0.042391}],[9983,"model.called",{"n":"write","item":1,"provider":"ollama","model":"m","duration_s":0.09234,"tokens_in":20,"tokens_out":5,"cost_usd":"0","first_token_s":0.055123}],[223,"model.called",{"n":"write","item":3,"provider":"ollama","model":"m","duration_s":0.08523,"tokens_in":20,"tokens_out":5,"cost_usd":"0","first_token_s":0.04956}],[83,"step.finished",{"n":"write","item":0,"duration_s":0.083466,"outputs":{"line":"old"},"calls":1,"tokens_in":20,"tokens_out":5,"cost_usd":"0"}]]'),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 12, '[[1795418677226290,"step.finished",{"n":"write","item":1,"duration_s":0.092429,"outputs":{"line":"old"},"calls":1,"tokens_in":20,"tokens_out":5,"cost_usd":"0"}],[138,"step.finished",{"n":"write","item":3,"duration_s":0.085334,"outputs":{"line":"old"},"calls":1,"tokens_in":20,"tokens_out":5,"cost_usd":"0"}]]'),
	('01a2074a-c345-7950-8026-dcfdff9a366c', 8, '[[1795418677228695,"step.started",{"n":"second"}],[37539,"model.called",{"n":"second","provider":"ollama","model":"m","duration_s":0.037411,"tokens_in":0,"tokens_out":0,"cost_usd":"0","tokens_cached":0,"error":{"code":"rate_limited","message":"ollama/m: too many requests (429): no luck","node":"second"}}],[74,"step.retrying",{"n":"second","attempt":2,"delay_s":25.0,"error":{"code":"rate_limited","message":"ollama/m: too many requests (429): no luck","node":"second"}}]]'),
	('01a2074a-c345-7950-8026-dcfdff9a366c', 9, '[[1795418677271201,"run.waiting",{"reason":"retry","seconds":25.0,"node":"second"}]]'),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', 6, '[[1795418677229547,"step.started",{"n":"second"}]]'),
	('01a2074a-e2b3-7cbb-90b4-18a789139d8b', 1, '[[1795418677939514, "run.queued", {}]]');
INSERT INTO public.model_calls VALUES
	('01a2074a-c345-7950-8026-dcfdff9a366c', 4, 1, -1, 20, 5, NULL, 0.1018622, 0.05135808, '2025-11-23 07:24:37.204705+00', 'first', 'ollama', 'm', NULL, 0),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', 4, 1, -1, 20, 5, NULL, 0.097733736, 0.054366097, '2025-11-23 07:24:37.205005+00', 'first', 'ollama', 'm', NULL, 0),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 7, 1, 0, 20, 5, NULL, 0.08331694, 0.042391054, '2025-11-23 07:24:37.210315+00', 'write', 'ollama', 'm', NULL, 0),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 8, 1, 1, 20, 5, NULL, 0.09233994, 0.055123366, '2025-11-23 07:24:37.220291+00', 'write', 'ollama', 'm', NULL, 0),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 9, 1, 3, 20, 5, NULL, 0.085230485, 0.04956006, '2025-11-23 07:24:37.220512+00', 'write', 'ollama', 'm', NULL, 0),
	('01a2074a-c345-7950-8026-dcfdff9a366c', 7, 1, -1, 0, 0, 0, 0.03741105, NULL, '2025-11-23 07:24:37.266249+00', 'second', 'ollama', 'm', 'rate_limited', 0);
INSERT INTO public.revisions VALUES
	('chain', 1, 1, NULL, '2025-11-23 07:24:26.151094+00'),
	('many', 1, 2, NULL, '2025-11-23 07:24:26.165804+00');
INSERT INTO public.runs VALUES
	('01a2074a-c388-7536-9d1d-c98ab561996e', 2, 1, 1, 1, 0, 1, 5, NULL, '2025-11-23 07:24:29.960607+00', '2025-11-23 07:24:29.960607+00', '2025-11-23 07:24:30.255151+00', NULL, NULL, NULL, NULL, NULL, NULL, 'many', 'running', NULL, '{"topics":["a","b","c","d"]}', NULL, NULL, NULL),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', 1, 1, 1, 1, 0, 1, 5, NULL, '2025-11-23 07:24:29.95572+00', '2025-11-23 07:24:29.95572+00', '2025-11-23 07:24:30.255175+00', NULL, NULL, NULL, NULL, NULL, NULL, 'chain', 'running', NULL, '{"topic":"killed"}', NULL, NULL, NULL),
	('01a2074a-c345-7950-8026-dcfdff9a366c', 1, 1, 2, 9, 0, 0, 5, NULL, '2025-11-23 07:24:29.8945+00', '2025-11-23 07:24:37.271722+00', '2025-11-23 07:24:30.25486+00', NULL, '2025-11-23 07:25:02.271722+00', NULL, NULL, NULL, NULL, 'chain', 'waiting', NULL, '{"topic":"waiting"}', NULL, NULL, NULL),
	('01a2074a-e2b3-7cbb-90b4-18a789139d8b', 1, 1, 0, 1, 0, 0, 5, NULL, '2025-11-23 07:24:37.939514+00', '2025-11-23 07:24:37.939514+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'chain', 'queued', NULL, '{"topic":"queued"}', NULL, NULL, NULL);
INSERT INTO public.steps VALUES
	('01a2074a-c345-7950-8026-dcfdff9a366c', 1, -1, 5, 1, 0.10204799, '2025-11-23 07:24:37.102704+00', 'first', 'succeeded', NULL, '{"one":"old"}', NULL),
	('01a2074a-c383-776a-8bb1-ce23a2dbd988', 1, -1, 5, 1, 0.097840145, '2025-11-23 07:24:37.107186+00', 'first', 'succeeded', NULL, '{"one":"old"}', NULL),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 1, 0, 10, 1, 0.08346646, '2025-11-23 07:24:37.126879+00', 'write', 'succeeded', NULL, '{"line":"old"}', NULL),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 1, 3, 12, 1, 0.085333765, '2025-11-23 07:24:37.135196+00', 'write', 'succeeded', NULL, '{"line":"old"}', NULL),
	('01a2074a-c388-7536-9d1d-c98ab561996e', 1, 1, 11, 1, 0.092429265, '2025-11-23 07:24:37.127885+00', 'write', 'succeeded', NULL, '{"line":"old"}', NULL),
	('01a2074a-c345-7950-8026-dcfdff9a366c', 1, -1, 8, 2, 0, '2025-11-23 07:24:37.228685+00', 'second', 'waiting', NULL, NULL, '{"code":"rate_limited","message":"ollama/m: too many requests (429): no luck","node":"second"}');
INSERT INTO public.workflows VALUES
	('chain', 1, NULL, 0, '2025-11-23 07:24:26.151094+00', '2025-11-23 07:24:26.151094+00'),
	('many', 1, NULL, 0, '2025-11-23 07:24:26.165804+00', '2025-11-23 07:24:26.165804+00');
SELECT pg_catalog.setval('public.definitions_id_seq', 2, true);
ALTER TABLE ONLY public.alembic_version
    ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE ONLY public.agents
    ADD CONSTRAINT pk_agents PRIMARY KEY (id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT pk_api_keys PRIMARY KEY (id);
ALTER TABLE ONLY public.checkpoint_values
    ADD CONSTRAINT pk_checkpoint_values PRIMARY KEY (thread_id, digest);
ALTER TABLE ONLY public.checkpoint_writes
    ADD CONSTRAINT pk_checkpoint_writes PRIMARY KEY (thread_id, ns, checkpoint_id, task_id, index);
ALTER TABLE ONLY public.checkpoints
    ADD CONSTRAINT pk_checkpoints PRIMARY KEY (thread_id, ns, id);
ALTER TABLE ONLY public.claims
    ADD CONSTRAINT pk_claims PRIMARY KEY (run_id);
ALTER TABLE ONLY public.definitions
    ADD CONSTRAINT pk_definitions PRIMARY KEY (id);
ALTER TABLE ONLY public.events
    ADD CONSTRAINT pk_events PRIMARY KEY (run_id, seq);
ALTER TABLE ONLY public.model_calls
    ADD CONSTRAINT pk_model_calls PRIMARY KEY (run_id, seq);
ALTER TABLE ONLY public.revisions
    ADD CONSTRAINT pk_revisions PRIMARY KEY (workflow, number);
ALTER TABLE ONLY public.runs
    ADD CONSTRAINT pk_runs PRIMARY KEY (id);
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT pk_sessions PRIMARY KEY (hash);
ALTER TABLE ONLY public.steps
    ADD CONSTRAINT pk_steps PRIMARY KEY (run_id, node, visit, item);
ALTER TABLE ONLY public.workflows
    ADD CONSTRAINT pk_workflows PRIMARY KEY (name);
ALTER TABLE ONLY public.definitions
    ADD CONSTRAINT uq_definitions_digest UNIQUE (digest);
CREATE INDEX ix_model_calls_at ON public.model_calls USING brin (at);
CREATE INDEX ix_revisions_definition ON public.revisions USING btree (definition);
CREATE INDEX ix_runs_broken ON public.runs USING btree (status, id) WHERE (status = ANY (ARRAY['failed'::text, 'cancelled'::text]));
CREATE INDEX ix_runs_held ON public.runs USING btree (status, id) WHERE (status = ANY (ARRAY['running'::text, 'waiting'::text]));
CREATE UNIQUE INDEX ix_runs_key ON public.runs USING btree (key) WHERE (key IS NOT NULL);
CREATE INDEX ix_runs_queued ON public.runs USING btree (workflow, priority DESC, queued_at) WHERE (status = 'queued'::text);
CREATE INDEX ix_runs_workflow_id ON public.runs USING btree (workflow, id);
CREATE INDEX ix_sessions_key_id ON public.sessions USING btree (key_id);
ALTER TABLE ONLY public.revisions
    ADD CONSTRAINT fk_revisions_definition FOREIGN KEY (definition) REFERENCES public.definitions(id);
ALTER TABLE ONLY public.revisions
    ADD CONSTRAINT fk_revisions_workflow FOREIGN KEY (workflow) REFERENCES public.workflows(name) ON DELETE CASCADE;
ALTER TABLE ONLY public.sessions
    ADD CONSTRAINT fk_sessions_key_id FOREIGN KEY (key_id) REFERENCES public.api_keys(id) ON DELETE CASCADE;
