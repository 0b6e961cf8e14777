-- Row level security, forced on the owner too. A transaction sees the tenant that tenant_tx() has
-- set, and nobody when it has set none: a setting that was once local reads as '' afterwards.
SET ROLE owner;

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['auth_users', 'auth_sessions', 'auth_audit_logs', 'threads', 'messages',
                              'credits', 'credit_ledger', 'agent_configurations', 'resources',
                              'allocations', 'outbox', 'deliveries', 'usage'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format($p$CREATE POLICY own_rows ON %I TO app
      USING (tenant_id = NULLIF(current_setting('app.tenant', true), ''))
      WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant', true), ''))$p$, name);
    -- Making and retiring tenants crosses tenants by nature, and so has a role of its own.
    EXECUTE format('CREATE POLICY all_rows ON %I TO provisioner USING (true) WITH CHECK (true)', name);
    EXECUTE format('GRANT SELECT, INSERT, DELETE ON %I TO provisioner', name);
    EXECUTE format('GRANT SELECT ON %I TO observer', name);
  END LOOP;
END $$;
GRANT SELECT ON lab_marker TO observer;

-- The auth service looks a user up before it knows the tenant.
CREATE POLICY log_in ON auth_users FOR SELECT TO auth USING (true);
CREATE POLICY sessions ON auth_sessions TO auth USING (true) WITH CHECK (true);
CREATE POLICY audit ON auth_audit_logs TO auth USING (true) WITH CHECK (true);
CREATE POLICY deactivate ON auth_users FOR UPDATE TO auth USING (true) WITH CHECK (true);
GRANT SELECT, UPDATE (is_active) ON auth_users TO auth;
GRANT SELECT, INSERT, UPDATE ON auth_sessions TO auth;
GRANT INSERT ON auth_audit_logs TO auth;

-- The backend reads no account and changes no history.
GRANT INSERT ON auth_audit_logs TO app;
GRANT SELECT, INSERT ON threads TO app;
GRANT SELECT, INSERT ON messages TO app;
GRANT SELECT, UPDATE ON credits TO app;
GRANT SELECT, INSERT ON credit_ledger TO app;
GRANT SELECT, UPDATE ON agent_configurations TO app;
GRANT SELECT, UPDATE ON resources TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON allocations TO app;
GRANT SELECT, INSERT, UPDATE ON outbox TO app;
GRANT SELECT, INSERT ON deliveries TO app;
GRANT SELECT, INSERT, UPDATE ON usage TO app;
GRANT SELECT ON recent_messages TO app;
