-- Whose key has this hash, or had it before a rotation whose overlap isn't over. Services ask this way, so that they needn't
-- read the hashes of all keys. What is compared are hashes of hashes: how long that takes says nothing about the stored
-- one. `until`: the end of this secret; `is_due`: its use was last written down more than a minute ago.
CREATE FUNCTION caller_of_key(p_id text, p_hash bytea) RETURNS TABLE (
    id text, name text, scopes text[], workflows text[], rate integer, until timestamptz, is_expired boolean,
    is_due boolean
)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.id, k.name, k.scopes, k.workflows, k.rate, secret.until, coalesce(secret.until <= now(), false),
        k.last_used_at IS NULL OR k.last_used_at < now() - interval '1 minute'
    FROM api_keys k CROSS JOIN LATERAL (
        SELECT k.expires_at AS until WHERE sha256(k.hash) = sha256(p_hash)
        UNION ALL
        SELECT k.old_until WHERE sha256(k.old_hash) = sha256(p_hash) AND k.old_until > now()
    ) secret
    WHERE k.id = p_id AND k.revoked_at IS NULL
$$;
