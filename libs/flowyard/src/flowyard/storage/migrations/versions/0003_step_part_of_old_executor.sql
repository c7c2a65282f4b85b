-- Executors of the release before number no parts, and give them no status.
CREATE FUNCTION step_part_of_old_executor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.part := NEW.seq;
    NEW.status := CASE WHEN NEW.error IS NULL THEN 'done' WHEN NEW.tokens_in IS NULL THEN 'lost' ELSE 'failed' END;
    RETURN NEW;
END
$$
