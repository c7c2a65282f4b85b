-- Group commit: one statement, and so one transaction, for what several runs have to write. Nothing of a run is
-- written unless its claim is still held.
--
-- $1 is the lease in seconds. All others are arrays, one per column, whose elements of the same index are one row:
--     $2-$10   one row per run
--     $11-$22  one row per step        (columns as in rows.StepRow)
--     $23-$38  one row per model call  (columns as in rows.CallRow)
--     $39-$44  checkpoints, $45-$52 their writes, $53-$55 their large values, $56-$57 large values to be deleted

WITH
-- What each run wants to write. Its status is null unless the run ends with this commit.
commits AS (
    SELECT * FROM unnest(
        $2::uuid[], $3::int[],  $4::int[],  $5::text[],     $6::text[],
        $7::text[], $8::text[], $9::text[], $10::boolean[]
    ) AS c (
        run_id,     epoch,      last_seq,   head,           entries,
        status,     outputs,    error,      new_head
    )
),

-- The claims of runs that go on: still held, and renewed.
renewed AS (
    UPDATE claims SET last_seq = c.last_seq, head_checkpoint = coalesce(c.head, claims.head_checkpoint),
        lease_until = now() + make_interval(secs => $1)
    FROM commits c
    WHERE c.status IS NULL AND claims.run_id = c.run_id AND claims.epoch = c.epoch AND claims.executor IS NOT NULL
    RETURNING claims.run_id
),

-- The claims of runs that end: still held until now, and deleted.
ended AS (
    DELETE FROM claims USING commits c
    WHERE c.status IS NOT NULL AND claims.run_id = c.run_id AND claims.epoch = c.epoch AND claims.executor IS NOT NULL
    RETURNING claims.run_id
),

-- The runs whose claim is valid. Whatever is written below is joined with them.
accepted AS (SELECT run_id FROM renewed UNION ALL SELECT run_id FROM ended),

-- The runs that end get their result.
finished_runs AS (
    UPDATE runs SET status = c.status, outputs = c.outputs::json, error = c.error::json, last_seq = c.last_seq,
        finished_at = now(), wake_at = NULL
    FROM commits c JOIN ended USING (run_id) WHERE runs.id = c.run_id
),

-- The events of one run's commit are one row. It is there already if this statement is sent again.
new_events AS (
    INSERT INTO events (run_id, seq, entries)
    SELECT c.run_id, c.last_seq, c.entries::json FROM commits c JOIN accepted USING (run_id)
    WHERE c.entries IS NOT NULL
    ON CONFLICT DO NOTHING
),

-- A step that has failed or waited is overwritten by its next try. One that has succeeded is never changed.
new_steps AS (
    INSERT INTO steps (run_id, node, visit, item, status, seq, tries, started_at, duration_s, handled, outputs, error)
    SELECT s.run_id, s.node, s.visit, s.item, s.status, s.seq, s.tries, s.started_at, s.duration_s, s.handled,
        s.outputs::json, s.error::json
    FROM unnest(
        $11::uuid[],     $12::text[],        $13::int[],  $14::int[],  $15::text[], $16::int[],
        $17::smallint[], $18::timestamptz[], $19::real[], $20::text[], $21::text[], $22::text[]
    ) AS s (
        run_id,          node,               visit,       item,        status,      seq,
        tries,           started_at,         duration_s,  handled,     outputs,     error
    )
    JOIN accepted USING (run_id)
    ON CONFLICT (run_id, node, visit, item) DO UPDATE SET status = excluded.status, seq = excluded.seq,
        tries = excluded.tries, started_at = excluded.started_at, duration_s = excluded.duration_s,
        handled = excluded.handled, outputs = excluded.outputs, error = excluded.error
        WHERE steps.status <> 'succeeded'
),

-- The model calls. They are there already if this statement is sent again.
new_calls AS (
    INSERT INTO model_calls (run_id, seq, node, visit, item, provider, model, at, duration_s, first_token_s, tokens_in,
        tokens_out, tokens_cached, cost_usd, error, retries)
    SELECT m.* FROM unnest(
        $23::uuid[],   $24::int[],         $25::text[], $26::int[],      $27::int[], $28::text[],
        $29::text[],   $30::timestamptz[], $31::real[], $32::real[],     $33::int[], $34::int[],
        $35::int[],    $36::numeric[],     $37::text[], $38::smallint[]
    ) AS m (
        run_id,        seq,                node,        visit,           item,       provider,
        model,         at,                 duration_s,  first_token_s,   tokens_in,  tokens_out,
        tokens_cached, cost_usd,           error,       retries
    )
    JOIN accepted USING (run_id)
    ON CONFLICT DO NOTHING
),

-- Only the newest checkpoint of a run is kept, its head, and none of a run that has ended.
old_checkpoints AS (
    DELETE FROM checkpoints k USING commits c JOIN accepted USING (run_id)
    WHERE (c.new_head AND k.id <> c.head OR c.status IS NOT NULL) AND k.thread_id = c.run_id::text
),
old_writes AS (
    DELETE FROM checkpoint_writes k USING commits c JOIN accepted USING (run_id)
    WHERE (c.new_head AND k.checkpoint_id <> c.head OR c.status IS NOT NULL) AND k.thread_id = c.run_id::text
),
old_values AS (
    DELETE FROM checkpoint_values k USING ended WHERE k.thread_id = ended.run_id::text
),

-- Large values to which no checkpoint of their run refers any more.
replaced_values AS (
    DELETE FROM checkpoint_values k
    USING unnest($56::uuid[], $57::text[]) AS v (run_id, digest) JOIN accepted USING (run_id)
    WHERE k.thread_id = v.run_id::text AND k.digest = v.digest
),

-- The new head, the writes of tasks that have ended after it, and its large values. They are there already if this
-- statement is sent again.
new_checkpoints AS (
    INSERT INTO checkpoints (thread_id, ns, id, parent, checkpoint, metadata)
    SELECT k.run_id::text, k.ns, k.id, k.parent, k.checkpoint::json, k.metadata::json
    FROM unnest($39::uuid[], $40::text[], $41::text[], $42::text[], $43::text[], $44::text[])
        AS k (run_id, ns, id, parent, checkpoint, metadata)
    JOIN accepted USING (run_id)
    ON CONFLICT DO NOTHING
),
new_writes AS (
    INSERT INTO checkpoint_writes (thread_id, ns, checkpoint_id, task_id, index, task_path, channel, value)
    SELECT w.run_id::text, w.ns, w.checkpoint_id, w.task_id, w.index, w.task_path, w.channel, w.value::json
    FROM unnest($45::uuid[], $46::text[], $47::text[], $48::text[], $49::int[], $50::text[], $51::text[], $52::text[])
        AS w (run_id, ns, checkpoint_id, task_id, index, task_path, channel, value)
    JOIN accepted USING (run_id)
    ON CONFLICT DO NOTHING
),
new_values AS (
    INSERT INTO checkpoint_values (thread_id, digest, value)
    SELECT v.run_id::text, v.digest, v.value::json
    FROM unnest($53::uuid[], $54::text[], $55::text[]) AS v (run_id, digest, value)
    JOIN accepted USING (run_id)
    ON CONFLICT DO NOTHING
)

-- The runs that were written, and whether their cancellation was requested.
SELECT a.run_id, r.cancel_requested_at IS NOT NULL AS cancel_requested FROM accepted a JOIN runs r ON r.id = a.run_id
