-- Deletes up to `p_most` rows at the beginning of the chain, those that are older than `p_days` days and older than 30.
-- The newest row stays, so that the chain goes on.
CREATE FUNCTION forget_audit(p_days integer, p_most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    WITH kept AS (
        SELECT coalesce(
            (SELECT min(number) FROM audit WHERE at >= now() - make_interval(days => greatest(p_days, 30))),
            (SELECT max(number) FROM audit)
        ) AS number
    ),
    forgotten AS (
        DELETE FROM audit WHERE number IN (
            SELECT a.number FROM audit a, kept WHERE a.number < kept.number ORDER BY a.number LIMIT p_most
        )
        RETURNING 1
    )
    SELECT count(*) FROM forgotten
$$
