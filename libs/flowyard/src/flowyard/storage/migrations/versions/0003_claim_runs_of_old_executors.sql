-- For executors of the release before, which know only the first engine: they get no other run, and their checkpoints.
-- They take each row of a step for one that has ended or waits, and write rows of the calls that a lost executor had
-- begun, which they read from the run's events.
CREATE FUNCTION claim_runs(p_executor text, p_most integer, p_lease interval)
RETURNS TABLE (
    run_id uuid, epoch integer, workflow text, revision integer, definition integer, digest text, inputs json,
    fork json, attempt smallint, max_attempts smallint, last_seq integer, head_checkpoint text, has_steps boolean,
    timeout_s real, left_s double precision, waited_s double precision, cancel_requested boolean, started_at timestamptz,
    at timestamptz
)
LANGUAGE sql AS $$
    WITH claimed AS (SELECT * FROM claim_runs(p_executor, p_most, p_lease, '{0}', true)),
    open_steps AS (
        DELETE FROM steps s USING claimed
        WHERE s.run_id = claimed.run_id AND s.status IN ('running', 'interrupted', 'retrying')
    ),
    open_calls AS (
        DELETE FROM step_parts p USING claimed WHERE p.run_id = claimed.run_id AND p.status IN ('reserved', 'running')
    )
    SELECT r.run_id, r.epoch, r.workflow, r.revision, r.definition, r.digest, r.inputs, r.fork, r.attempt,
        r.max_attempts, r.last_seq, c.head_checkpoint, r.has_steps, r.timeout_s, r.left_s, r.waited_s,
        r.cancel_requested, r.started_at, r.at
    FROM claimed r LEFT JOIN claims c ON c.run_id = r.run_id
$$
