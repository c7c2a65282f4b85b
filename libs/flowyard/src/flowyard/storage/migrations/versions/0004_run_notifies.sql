-- However a run ends, and whoever ends it: one row for each receiver of that end, in the same transaction. A run that was
-- retried, and ends again, has another `last_seq`, and so other rows.
CREATE FUNCTION run_notifies() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO notifications (run_id, seq, place, receiver, run_status, finished_at, next_at, error)
    SELECT NEW.id, NEW.last_seq, r.place - 1, r.about->>'id', NEW.status, NEW.finished_at, NEW.finished_at, NEW.error
    FROM json_array_elements(NEW.on_finish) WITH ORDINALITY AS r (about, place)
    WHERE (r.about->'status')::jsonb ? NEW.status
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
