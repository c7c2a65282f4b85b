-- Group commit: one statement, and so one transaction, for what several runs have to write. Nothing of a run is
-- written unless its claim is still held.
--
-- $1 is the lease in seconds. All others are arrays, one per column, whose elements of the same index are one row:
--     $2-$14   one row per run
--     $15-$32  one row per step        (columns as in Step)
--     $33-$58  one row per call of a model or a tool  (columns as in rows.CallRow)

WITH
-- What each run wants to write. Its status is null unless the claim ends with this commit. Then the run ends, or it is
-- handed back, to go on in another claim.
commits AS (
    SELECT *, status IS NOT NULL AND status IN ('queued', 'waiting') AS handed_back FROM unnest(
        $2::uuid[], $3::int[],  $4::int[],    $5::text[],  $6::text[],
        $7::text[], $8::text[], $9::float8[], $10::text[], $11::timestamptz[],
        $12::numeric[],         $13::bigint[],             $14::int[]
    ) AS c (
        run_id,     epoch,      last_seq,     entries,     status,
        outputs,    error,      wait_s,       snapshot,    step_deadline,
        spent_usd,              spent_tokens,              spent_calls
    )
),

-- The claims of runs that go on: still held until now. They are renewed, or handed back: then no executor has them.
kept AS (
    UPDATE claims SET last_seq = c.last_seq, step_deadline = c.step_deadline, head_checkpoint = NULL,
        spent_usd = c.spent_usd, spent_tokens = c.spent_tokens, spent_calls = c.spent_calls,
        executor = CASE WHEN NOT c.handed_back THEN executor END,
        lease_until = CASE WHEN NOT c.handed_back THEN now() + make_interval(secs => $1) END,
        epoch = claims.epoch + c.handed_back::int
    FROM commits c
    WHERE (c.status IS NULL OR c.handed_back)
        AND claims.run_id = c.run_id AND claims.epoch = c.epoch AND claims.executor IS NOT NULL
    RETURNING claims.run_id, claims.claimed_at
),

-- The claims of runs that end: still held until now, and deleted.
ended AS (
    DELETE FROM claims USING commits c
    WHERE c.status IS NOT NULL AND NOT c.handed_back
        AND claims.run_id = c.run_id AND claims.epoch = c.epoch AND claims.executor IS NOT NULL
    RETURNING claims.run_id, claims.claimed_at
),

old_snapshots AS (DELETE FROM snapshots USING ended WHERE snapshots.run_id = ended.run_id),

-- The runs whose claim is valid. Whatever is written below is joined with them.
accepted AS (SELECT run_id, claimed_at FROM kept UNION ALL SELECT run_id, claimed_at FROM ended),

-- The runs that end get their result. Those that are handed back have used up no attempt.
moved_runs AS (
    UPDATE runs SET status = c.status, outputs = c.outputs::json, error = c.error::json, last_seq = c.last_seq,
        worked_s = worked_s + coalesce(extract(epoch FROM now() - a.claimed_at), 0),
        finished_at = CASE WHEN NOT c.handed_back THEN now() END,
        queued_at = CASE WHEN c.handed_back THEN now() ELSE queued_at END,
        wake_at = now() + make_interval(secs => c.wait_s),
        attempt = attempt - c.handed_back::int, epoch = runs.epoch + c.handed_back::int
    FROM commits c JOIN accepted a USING (run_id) WHERE runs.id = c.run_id AND c.status IS NOT NULL
),

new_snapshots AS (
    INSERT INTO snapshots (run_id, engine, through_seq, state)
    SELECT c.run_id, r.engine, c.last_seq, c.snapshot::json
    FROM commits c JOIN kept USING (run_id) JOIN runs r ON r.id = c.run_id WHERE c.snapshot IS NOT NULL
    ON CONFLICT (run_id) DO UPDATE SET
        engine = excluded.engine, through_seq = excluded.through_seq, state = excluded.state
),

-- The events of one run's commit are one row. It is there already if this statement is sent again.
new_events AS (
    INSERT INTO events (run_id, seq, entries)
    SELECT c.run_id, c.last_seq, c.entries::json FROM commits c JOIN accepted USING (run_id)
    WHERE c.entries IS NOT NULL
    ON CONFLICT DO NOTHING
),

sent_steps AS (
    SELECT s.* FROM unnest(
        $15::uuid[],        $16::text[],        $17::int[],         $18::text[], $19::int[],   $20::timestamptz[],
        $21::int[],         $22::text[],        $23::int[],         $24::smallint[],
        $25::timestamptz[], $26::real[],        $27::timestamptz[], $28::real[], $29::text[],  $30::text[],
        $31::text[],        $32::text[]
    ) AS s (
        run_id,             node,               visit,              status,      seq,          started_at,
        item,               kind,               start_seq,          tries,
        deadline,           left_s,             wake_at,            duration_s,  handled,      next,
        outputs,            error
    )
    JOIN accepted USING (run_id)
),

-- A step that hasn't ended is overwritten. One that has ended is never changed; it has this number already if this
-- statement is sent again.
new_steps AS (
    INSERT INTO steps (run_id, node, visit, status, seq, started_at, item, kind, start_seq, tries, deadline, left_s,
        wake_at, duration_s, handled, next, outputs, error)
    SELECT s.run_id, s.node, s.visit, s.status, s.seq, s.started_at, s.item, s.kind, s.start_seq, s.tries, s.deadline,
        s.left_s, s.wake_at, s.duration_s, s.handled, s.next::json, s.outputs::json, s.error::json
    FROM sent_steps s
    ON CONFLICT (run_id, node, visit, item) DO UPDATE SET status = excluded.status, seq = excluded.seq,
        start_seq = excluded.start_seq, tries = excluded.tries, started_at = excluded.started_at,
        deadline = excluded.deadline, left_s = excluded.left_s, wake_at = excluded.wake_at,
        duration_s = excluded.duration_s, handled = excluded.handled, next = excluded.next, outputs = excluded.outputs, error = excluded.error
        WHERE steps.status NOT IN ('succeeded', 'failed') OR steps.seq = excluded.seq
    RETURNING 1
),

-- What was at work or waited when its run ended.
interrupted AS (
    UPDATE steps SET status = 'interrupted', wake_at = NULL
    FROM ended WHERE steps.run_id = ended.run_id AND steps.status IN ('running', 'waiting', 'retrying')
        AND NOT EXISTS (
            SELECT FROM sent_steps s
            WHERE (s.run_id, s.node, s.visit, s.item) = (steps.run_id, steps.node, steps.visit, steps.item)
        )
),

sent_parts AS (
    SELECT p.* FROM unnest(
        $33::uuid[],     $34::int[],         $35::text[], $36::int[],     $37::int[],  $38::int[],
        $39::text[],     $40::text[],        $41::timestamptz[],
        $42::smallint[], $43::smallint[],    $44::text[],
        $45::real[],     $46::real[],        $47::int[],  $48::int[],     $49::int[],
        $50::numeric[],  $51::text[],        $52::smallint[],
        $53::bigint[],   $54::numeric[],      $55::text[],
        $56::text[],     $57::smallint[],     $58::text[]
    ) AS p (
        run_id,          seq,                node,        visit,          item,        part,
        provider,        model,              at,
        round,           question,           status,
        duration_s,      first_token_s,      tokens_in,   tokens_out,     tokens_cached,
        cost_usd,        error,              retries,
        reserved_tokens, reserved_usd,        texts,
        tool,            call,                result
    )
    JOIN accepted USING (run_id)
),

-- A model call that has begun is overwritten with its end, which is never changed.
new_parts AS (
    INSERT INTO step_parts (run_id, seq, node, visit, item, part, provider, model, at, round, question, status,
        duration_s, first_token_s, tokens_in, tokens_out, tokens_cached, cost_usd, error, retries, reserved_tokens,
        reserved_usd, texts, tool, call, result)
    SELECT p.* FROM sent_parts p
    ON CONFLICT (run_id, node, visit, item, part) DO UPDATE SET seq = excluded.seq, status = excluded.status,
        at = excluded.at, duration_s = excluded.duration_s, first_token_s = excluded.first_token_s,
        tokens_in = excluded.tokens_in, tokens_out = excluded.tokens_out, tokens_cached = excluded.tokens_cached,
        cost_usd = excluded.cost_usd, error = excluded.error, retries = excluded.retries, texts = excluded.texts,
        result = excluded.result
        WHERE step_parts.status IN ('reserved', 'running') OR step_parts.seq = excluded.seq
    RETURNING 1
)

-- The runs that were written, and whether their cancellation was requested. If a step or a call that has ended would be
-- changed, the division by zero refuses the whole statement, so that nothing of its run is written.
SELECT a.run_id, r.cancel_requested_at IS NOT NULL AS cancel_requested,
    1 / (
        (SELECT count(*) FROM new_steps) = (SELECT count(*) FROM sent_steps)
        AND (SELECT count(*) FROM new_parts) = (SELECT count(*) FROM sent_parts)
    )::int AS written
FROM accepted a JOIN runs r ON r.id = a.run_id
