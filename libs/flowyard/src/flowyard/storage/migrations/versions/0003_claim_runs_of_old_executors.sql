-- For executors of the release before, which know only the first engine: they get no other run, and their checkpoints.
CREATE FUNCTION claim_runs(p_executor text, p_most integer, p_lease interval)
RETURNS TABLE (
    run_id uuid, epoch integer, workflow text, revision integer, definition integer, digest text, inputs json,
    fork json, attempt smallint, max_attempts smallint, last_seq integer, head_checkpoint text, has_steps boolean,
    timeout_s real, left_s double precision, waited_s double precision, cancel_requested boolean, started_at timestamptz,
    at timestamptz
)
LANGUAGE sql AS $$
    SELECT r.run_id, r.epoch, r.workflow, r.revision, r.definition, r.digest, r.inputs, r.fork, r.attempt,
        r.max_attempts, r.last_seq, c.head_checkpoint, r.has_steps, r.timeout_s, r.left_s, r.waited_s,
        r.cancel_requested, r.started_at, r.at
    FROM claim_runs(p_executor, p_most, p_lease, '{0}', true) r LEFT JOIN claims c ON c.run_id = r.run_id
$$
