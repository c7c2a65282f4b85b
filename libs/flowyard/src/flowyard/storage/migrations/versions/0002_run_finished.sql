-- However a run ends, and whoever ends it: it is put down for every target, in the same transaction. A run that was
-- retried is put down again; an exporter that was just sending it sees by `finished_at` that there is more to send.
CREATE FUNCTION run_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO exports (target, run_id, finished_at) SELECT name, NEW.id, NEW.finished_at FROM export_targets
    ON CONFLICT (target, run_id) DO UPDATE SET finished_at = excluded.finished_at, tries = 0;
    RETURN NULL;
END
$$;
