-- Whose key has this hash. Services ask this way, so that they needn't read the hashes of all keys. What is compared are
-- hashes of hashes: how long that takes says nothing about the stored one.
CREATE FUNCTION caller_of_key(p_id text, p_hash bytea) RETURNS TABLE (id text, name text, scopes text[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT k.id, k.name, k.scopes FROM api_keys k
    WHERE k.id = p_id AND sha256(k.hash) = sha256(p_hash) AND k.revoked_at IS NULL
$$;
