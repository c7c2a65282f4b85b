-- Claims up to `p_most` queued runs for an executor, and returns them, the first to be executed first. `p_engines`: the
-- rules that it knows, of which each run follows one. `p_with_steps`: whether also runs of which steps are recorded.
-- `p_alone`: it has no run at work, so it may get one that has to be executed alone; then that is the only one.
CREATE FUNCTION claim_runs(
    p_executor text, p_most integer, p_lease interval, p_engines smallint[], p_with_steps boolean,
    p_alone boolean DEFAULT true
)
RETURNS TABLE (
    run_id uuid, epoch integer, workflow text, revision integer, definition integer, digest text, inputs json,
    fork json, engine smallint, attempt smallint, max_attempts smallint, last_seq integer, has_steps boolean,
    timeout_s real, left_s double precision, waited_s double precision, cancel_requested boolean, started_at timestamptz,
    at timestamptz, spent_usd numeric, spent_tokens bigint, spent_calls integer, has_limit boolean
)
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan SET enable_seqscan = off AS $$
BEGIN
    -- One claim at a time: how many runs of a workflow are running must not change between counting and claiming. Each
    -- statement sees what was committed before it began, so the query has to begin after the lock is taken.
    PERFORM pg_advisory_xact_lock(4611921704);
    RETURN QUERY
    WITH
    -- How many runs of each workflow are at work.
    running AS (
        SELECT r.workflow, count(*)::integer AS n FROM runs r WHERE r.status = 'running' GROUP BY r.workflow
    ),
    -- The first queued runs of each workflow, as many as its concurrency still permits.
    eligible AS (
        SELECT q.id, q.priority, q.queued_at,
            -- The first run of each workflow comes before the second run of any; what runs already counts.
            coalesce(running.n, 0) + row_number() OVER (
                PARTITION BY w.name ORDER BY q.priority DESC, q.queued_at, q.id
            ) AS turn
        FROM workflows w
        LEFT JOIN running ON running.workflow = w.name
        CROSS JOIN LATERAL (
            SELECT r.id, r.priority, r.queued_at FROM runs r
            WHERE r.workflow = w.name AND r.status = 'queued' AND r.attempt < 2 AND r.engine = ANY(p_engines)
                AND (p_with_steps OR NOT EXISTS (SELECT FROM steps WHERE steps.run_id = r.id))
            ORDER BY r.priority DESC, r.queued_at
            LIMIT greatest(0, least(p_most, w.concurrency - coalesce(running.n, 0)))
        ) q
    ),
    -- The first that was at work when two executors were lost. It may be the cause.
    alone AS (
        SELECT r.id FROM runs r JOIN workflows w ON w.name = r.workflow LEFT JOIN running ON running.workflow = w.name
        WHERE p_alone AND p_most > 0 AND r.status = 'queued' AND r.attempt >= 2 AND r.engine = ANY(p_engines)
            AND (w.concurrency IS NULL OR coalesce(running.n, 0) < w.concurrency)
            AND (p_with_steps OR NOT EXISTS (SELECT FROM steps WHERE steps.run_id = r.id))
        ORDER BY r.queued_at LIMIT 1
    ),
    -- The best of them over all workflows: by priority, then fair between workflows, then the oldest.
    selected AS (
        SELECT a.id FROM alone a
        UNION ALL (
            SELECT e.id FROM eligible e WHERE NOT EXISTS (SELECT FROM alone)
            ORDER BY e.priority DESC, e.turn, e.queued_at, e.id LIMIT p_most
        )
    ),
    -- Those that nobody else is changing just now, a cancellation for example.
    locked AS (
        SELECT r.id FROM runs r JOIN selected USING (id) WHERE r.status = 'queued' FOR UPDATE OF r SKIP LOCKED
    ),
    -- Their runs are at work from now on: the next attempt, under the next epoch.
    started AS (
        UPDATE runs r SET status = 'running', attempt = r.attempt + 1, epoch = r.epoch + 1, wake_at = NULL,
            started_at = coalesce(r.started_at, clock_timestamp()),
            deadline = coalesce(r.deadline, clock_timestamp() + make_interval(secs => r.timeout_s))
        FROM locked WHERE r.id = locked.id
        RETURNING r.*
    ),
    -- The steps that failed their run, marked as a retry marks them. One of the release before doesn't, and leaves no
    -- claim either; its executors may also be lost between the end of a step and that of its run.
    begun_again AS (
        UPDATE steps SET status = CASE WHEN handled = 'fail' THEN 'retrying' ELSE steps.status END,
            deadline = NULL, left_s = NULL
        FROM started s LEFT JOIN claims c ON c.run_id = s.id
        WHERE steps.run_id = s.id AND s.epoch > 1 AND (
            steps.handled = 'fail' AND (c.run_id IS NULL OR s.engine = 0)
            OR steps.status IN ('running', 'interrupted') AND c.run_id IS NULL
        )
    ),
    -- Their claims. One from an earlier attempt is taken over with its last event.
    claimed AS (
        INSERT INTO claims AS c (run_id, epoch, last_seq, claimed_at, lease_until, executor)
        SELECT s.id, s.epoch, s.last_seq, clock_timestamp(), clock_timestamp() + p_lease, p_executor FROM started s
        ON CONFLICT ON CONSTRAINT pk_claims DO UPDATE
            SET epoch = excluded.epoch, claimed_at = excluded.claimed_at, lease_until = excluded.lease_until,
                executor = excluded.executor, step_deadline = NULL
        RETURNING c.*
    )
    SELECT s.id, s.epoch, s.workflow, s.revision, s.definition, d.digest, s.inputs, s.fork, s.engine, s.attempt, s.max_attempts,
        c.last_seq, EXISTS (SELECT 1 FROM steps WHERE steps.run_id = s.id), s.timeout_s,
        extract(epoch FROM s.deadline - clock_timestamp())::double precision,
        extract(epoch FROM clock_timestamp() - s.queued_at)::double precision,
        s.cancel_requested_at IS NOT NULL, s.started_at, clock_timestamp(), c.spent_usd, c.spent_tokens, c.spent_calls,
        w.concurrency IS NOT NULL
    FROM started s JOIN claimed c ON c.run_id = s.id JOIN definitions d ON d.id = s.definition
        JOIN workflows w ON w.name = s.workflow
    ORDER BY s.priority DESC, s.queued_at, s.id;
END
$$
