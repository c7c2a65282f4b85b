-- One statement, one transaction: what several runs have to say, each under its claim.
-- Arrays of one row each: given $1-$9, steps $10-$21, calls $22-$37, checkpoints $38-$43, writes $44-$51,
-- values $52-$54, replaced values $55-$56; $57: the lease in seconds.
WITH given AS (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
        $9::boolean[]) AS g (run_id, epoch, last_seq, head, entries, status, outputs, error, moves_on)
),
-- The two ways to hold a claim through this statement: go on with it, or end the run and give it up.
continued AS (
    UPDATE claims c SET last_seq = g.last_seq, head_checkpoint = coalesce(g.head, c.head_checkpoint),
        lease_until = now() + make_interval(secs => $57)
    FROM given g WHERE g.status IS NULL AND c.run_id = g.run_id AND c.epoch = g.epoch AND c.executor IS NOT NULL
    RETURNING c.run_id
),
ended AS (
    DELETE FROM claims c USING given g
    WHERE g.status IS NOT NULL AND c.run_id = g.run_id AND c.epoch = g.epoch AND c.executor IS NOT NULL
    RETURNING c.run_id
),
held AS (SELECT run_id FROM continued UNION ALL SELECT run_id FROM ended),
finished AS (
    UPDATE runs r SET status = g.status, outputs = g.outputs::json, error = g.error::json, last_seq = g.last_seq,
        finished_at = now(), wake_at = NULL
    FROM given g JOIN ended USING (run_id) WHERE r.id = g.run_id
),
told AS (
    INSERT INTO events (run_id, seq, entries)
    SELECT g.run_id, g.last_seq, g.entries::json FROM given g JOIN held USING (run_id) WHERE g.entries IS NOT NULL
    ON CONFLICT DO NOTHING
),
stepped AS (
    INSERT INTO steps (run_id, node, visit, item, status, seq, tries, started_at, duration_s, handled, outputs, error)
    SELECT s.run_id, s.node, s.visit, s.item, s.status, s.seq, s.tries, s.started_at, s.duration_s, s.handled,
        s.outputs::json, s.error::json
    FROM unnest($10::uuid[], $11::text[], $12::int[], $13::int[], $14::text[], $15::int[], $16::smallint[],
        $17::timestamptz[], $18::real[], $19::text[], $20::text[], $21::text[])
        AS s (run_id, node, visit, item, status, seq, tries, started_at, duration_s, handled, outputs, error)
    JOIN held USING (run_id)
    -- A step that has succeeded stays as it is, whoever comes later.
    ON CONFLICT (run_id, node, visit, item) DO UPDATE SET status = excluded.status, seq = excluded.seq,
        tries = excluded.tries, started_at = excluded.started_at, duration_s = excluded.duration_s,
        handled = excluded.handled, outputs = excluded.outputs, error = excluded.error
        WHERE steps.status <> 'succeeded'
),
called AS (
    INSERT INTO model_calls (run_id, seq, node, visit, item, provider, model, at, duration_s, first_token_s, tokens_in,
        tokens_out, tokens_cached, cost_usd, error, retries)
    SELECT m.* FROM unnest($22::uuid[], $23::int[], $24::text[], $25::int[], $26::int[], $27::text[], $28::text[],
        $29::timestamptz[], $30::real[], $31::real[], $32::int[], $33::int[], $34::int[], $35::numeric[], $36::text[],
        $37::smallint[])
        AS m (run_id, seq, node, visit, item, provider, model, at, duration_s, first_token_s, tokens_in, tokens_out,
            tokens_cached, cost_usd, error, retries)
    JOIN held USING (run_id)
    ON CONFLICT DO NOTHING
),
-- Only the head is kept: nothing resumes from an older one. It is there already if this statement is sent again.
pruned AS (
    DELETE FROM checkpoints k USING given g JOIN held USING (run_id)
    WHERE (g.moves_on AND k.id <> g.head OR g.status IS NOT NULL) AND k.thread_id = g.run_id::text
),
pruned_writes AS (
    DELETE FROM checkpoint_writes k USING given g JOIN held USING (run_id)
    WHERE (g.moves_on AND k.checkpoint_id <> g.head OR g.status IS NOT NULL) AND k.thread_id = g.run_id::text
),
pruned_values AS (
    DELETE FROM checkpoint_values k USING ended WHERE k.thread_id = ended.run_id::text
),
replaced AS (
    DELETE FROM checkpoint_values k USING unnest($55::uuid[], $56::text[]) AS v (run_id, digest) JOIN held USING (run_id)
    WHERE k.thread_id = v.run_id::text AND k.digest = v.digest
),
saved AS (
    INSERT INTO checkpoints (thread_id, ns, id, parent, checkpoint, metadata)
    SELECT k.run_id::text, k.ns, k.id, k.parent, k.checkpoint::json, k.metadata::json
    FROM unnest($38::uuid[], $39::text[], $40::text[], $41::text[], $42::text[], $43::text[])
        AS k (run_id, ns, id, parent, checkpoint, metadata)
    JOIN held USING (run_id)
    ON CONFLICT DO NOTHING
),
wrote AS (
    INSERT INTO checkpoint_writes (thread_id, ns, checkpoint_id, task_id, index, task_path, channel, value)
    SELECT w.run_id::text, w.ns, w.checkpoint_id, w.task_id, w.index, w.task_path, w.channel, w.value::json
    FROM unnest($44::uuid[], $45::text[], $46::text[], $47::text[], $48::int[], $49::text[], $50::text[], $51::text[])
        AS w (run_id, ns, checkpoint_id, task_id, index, task_path, channel, value)
    JOIN held USING (run_id)
    ON CONFLICT DO NOTHING
),
kept AS (
    INSERT INTO checkpoint_values (thread_id, digest, value)
    SELECT v.run_id::text, v.digest, v.value::json
    FROM unnest($52::uuid[], $53::text[], $54::text[]) AS v (run_id, digest, value)
    JOIN held USING (run_id)
    ON CONFLICT DO NOTHING
)
SELECT h.run_id, r.cancel_requested_at IS NOT NULL AS cancel_requested FROM held h JOIN runs r ON r.id = h.run_id
