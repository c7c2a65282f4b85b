-- Takes up to `p_most` acts that services have written down, and puts each at the end of the chain: with the hash of the
-- one before, and a hash of all that. Returns how many. It belongs to the owner of the tables: no service may change what
-- is in the chain, and none may take anything out of what was written down.
CREATE FUNCTION chain_audit(p_most integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    act record;
    place bigint;
    before bytea;
    chained integer := 0;
BEGIN
    -- One after the other. Each statement sees what was committed before it began, so the last row is read behind the
    -- lock.
    PERFORM pg_advisory_xact_lock(4611921705);
    SELECT a.number, a.hash INTO place, before FROM audit a ORDER BY a.number DESC LIMIT 1;
    place := coalesce(place, 0);
    before := coalesce(before, decode(repeat('00', 32), 'hex'));
    FOR act IN
        WITH taken AS (
            DELETE FROM audit_entries WHERE id IN (SELECT e.id FROM audit_entries e ORDER BY e.id LIMIT p_most)
            RETURNING *
        )
        SELECT * FROM taken ORDER BY id
    LOOP
        place := place + 1;
        INSERT INTO audit (number, at, act, key_id, who, address, workflow, objects, details, previous, hash)
        VALUES (
            place, act.at, act.act, act.key_id, act.who, act.address, act.workflow, act.objects, act.details, before,
            -- As compact JSON: what a row is in an export, without its own hash.
            sha256(convert_to(row_to_json((SELECT line FROM (SELECT
                place AS number, to_char(act.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS at, act.act,
                act.key_id, act.who, act.address, act.workflow, act.objects, act.details,
                encode(before, 'hex') AS previous
            ) line))::text, 'UTF8'))
        )
        RETURNING hash INTO before;
        chained := chained + 1;
    END LOOP;
    RETURN chained;
END
$$
