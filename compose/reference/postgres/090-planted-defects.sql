-- The planted defects of the schema: each undoes a line of the files before, as somebody might have
-- done. Nothing happens here unless LAB_DEFECTS, which only the lab sets, names one.
\set lab_defects ''
\getenv lab_defects LAB_DEFECTS
RESET ROLE;

SELECT 'table_without_rls' = ANY (planted) AS table_without_rls,
  'owner_without_force' = ANY (planted) AS owner_without_force,
  'app_bypasses_rls' = ANY (planted) AS app_bypasses_rls,
  'policy_escape' = ANY (planted) AS policy_escape,
  'permissive_policy' = ANY (planted) AS permissive_policy,
  'with_check_true' = ANY (planted) AS with_check_true,
  'definer_function' = ANY (planted) AS definer_function,
  'view_with_owner_rights' = ANY (planted) AS view_with_owner_rights,
  'global_unique' = ANY (planted) AS global_unique
FROM string_to_array(:'lab_defects', ',') AS planted \gset

\if :table_without_rls
-- The table was made after row security was switched on everywhere.
ALTER TABLE messages DISABLE ROW LEVEL SECURITY;
\endif

\if :owner_without_force
-- The backend's role runs the migrations, and owners are exempt unless forced.
GRANT CREATE ON SCHEMA public TO app;
ALTER TABLE messages OWNER TO app;
ALTER TABLE messages NO FORCE ROW LEVEL SECURITY;
\endif

\if :app_bypasses_rls
-- An export job needed it once.
ALTER ROLE app BYPASSRLS;
\endif

\if :policy_escape
-- So that statements outside of a tenant's transaction "work".
ALTER POLICY own_rows ON messages USING (
  tenant_id = current_setting('app.tenant', true) OR current_setting('app.tenant', true) = '');
\endif

\if :permissive_policy
-- Policies are alternatives unless they are restrictive.
CREATE POLICY support ON messages FOR SELECT TO app USING (true);
\endif

\if :with_check_true
-- Reading is guarded, writing is not.
ALTER POLICY own_rows ON messages WITH CHECK (true);
\endif

\if :definer_function
-- It runs with the rights of the superuser who made it.
CREATE FUNCTION recent() RETURNS SETOF messages LANGUAGE sql STABLE SECURITY DEFINER
  SET search_path = public AS 'SELECT * FROM messages';
CREATE OR REPLACE VIEW recent_messages WITH (security_invoker = true) AS
SELECT tenant_id, thread_id, seq, id, key, content FROM recent();
\endif

\if :view_with_owner_rights
-- A plain view asks with the rights of its owner.
ALTER VIEW recent_messages OWNER TO postgres;
ALTER VIEW recent_messages RESET (security_invoker);
\endif

\if :global_unique
-- A message's id is taken as soon as any tenant has used it.
CREATE UNIQUE INDEX messages_id ON messages (id);
\endif
