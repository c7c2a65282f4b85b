-- Admits a model call under all of its limits, or under none. Without a row it is admitted; else the row names the limit
-- for which it must wait longest, for how long, and whether a 429 has slowed it down. A burst of one second's requests and
-- of 15 seconds' tokens is allowed.
CREATE FUNCTION admit_model_call(
    wanted_call uuid, names text[], concurrencies integer[], requests float8[], tokens float8[], wanted_tokens float8,
    lease interval
) RETURNS TABLE (limit_name text, wait_s float8, rate_limited boolean) LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz;
BEGIN
    -- In the order of their names: two calls never wait for each other's locks.
    INSERT INTO model_pace (name) SELECT n FROM unnest(names) AS n ORDER BY n ON CONFLICT DO NOTHING;
    PERFORM FROM model_pace p WHERE p.name = ANY (names) ORDER BY p.name FOR UPDATE;
    -- Each statement sees what was written before it began: behind the locks, all that earlier calls have taken.
    at := clock_timestamp();
    DELETE FROM model_leases l WHERE l.name = ANY (names) AND l.until <= at;
    UPDATE model_pace p SET slowed_at = at,
        slowdown = greatest(1, p.slowdown * power(0.5, least(30, extract(epoch FROM at - p.slowed_at)::float8 / 60)))
    WHERE p.name = ANY (names) AND p.slowdown > 1;
    RETURN QUERY
    SELECT w.name, w.wait, w.slowed FROM (
        SELECT p.name, greatest(
            extract(epoch FROM p.held_until - at)::float8,
            CASE WHEN a.requests IS NOT NULL THEN extract(epoch FROM p.requests_at - at)::float8 - 1 END,
            CASE WHEN a.tokens IS NOT NULL THEN extract(epoch FROM p.tokens_at - at)::float8 - 15 END,
            -- Nobody knows when a call ends: look again soon.
            CASE WHEN (SELECT count(*) FROM model_leases l WHERE l.name = p.name)
                >= greatest(1, floor(a.concurrency / p.slowdown)) THEN 0.05 END
        ) AS wait, p.held_until > at OR p.slowdown > 1 AS slowed
        FROM unnest(names, concurrencies, requests, tokens) AS a(name, concurrency, requests, tokens)
        JOIN model_pace p ON p.name = a.name
    ) w WHERE w.wait > 0 ORDER BY w.wait DESC LIMIT 1;
    IF FOUND THEN
        RETURN;
    END IF;
    UPDATE model_pace p SET
        requests_at = CASE WHEN a.requests IS NULL THEN p.requests_at
            ELSE greatest(p.requests_at, at) + make_interval(secs => 60 / a.requests * p.slowdown) END,
        tokens_at = CASE WHEN a.tokens IS NULL THEN p.tokens_at
            ELSE greatest(p.tokens_at, at) + make_interval(secs => wanted_tokens * 60 / a.tokens * p.slowdown) END
    FROM unnest(names, requests, tokens) AS a(name, requests, tokens)
    WHERE p.name = a.name AND (a.requests IS NOT NULL OR a.tokens IS NOT NULL);
    INSERT INTO model_leases (name, call, until, tokens_s)
    SELECT a.name, wanted_call, at + lease, coalesce(wanted_tokens * 60 / a.tokens * p.slowdown, 0)
    FROM unnest(names, tokens) AS a(name, tokens) JOIN model_pace p ON p.name = a.name
    ON CONFLICT DO NOTHING;
END
$$
