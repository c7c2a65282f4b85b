-- As of 0002; and the end is put down for every trigger that waits for it, in the same transaction. A run that was
-- retried, and ends again, has another `last_seq`, and so another row.
CREATE OR REPLACE FUNCTION run_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO exports (target, run_id, finished_at) SELECT name, NEW.id, NEW.finished_at FROM export_targets
    ON CONFLICT (target, run_id) DO UPDATE SET finished_at = excluded.finished_at, tries = 0;
    INSERT INTO run_ends (workflow, trigger, run_id, seq, status, ended_at, error)
    SELECT workflow, name, NEW.id, NEW.last_seq, NEW.status, NEW.finished_at, NEW.error
    FROM triggers WHERE follows = NEW.workflow AND NEW.status = ANY (ends)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
