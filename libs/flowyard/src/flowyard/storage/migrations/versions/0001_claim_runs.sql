CREATE FUNCTION claim_runs(p_executor text, p_most integer, p_lease interval)
RETURNS TABLE (
    run_id uuid, epoch integer, workflow text, revision integer, definition integer, digest text, inputs json,
    fork json, attempt smallint, max_attempts smallint, last_seq integer, head_checkpoint text, has_steps boolean,
    timeout_s real, left_s double precision, waited_s double precision, cancel_requested boolean, started_at timestamptz,
    at timestamptz
)
LANGUAGE plpgsql AS $$
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
$$
