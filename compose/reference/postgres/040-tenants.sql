-- What the platform knows of a tenant: its quotas, and the epoch of its agents' state, which grows
-- whenever that has to be rebuilt and never goes back.
SET ROLE owner;

CREATE TABLE tenants (
  tenant_id tenant PRIMARY KEY, quotas jsonb NOT NULL DEFAULT '{}', epoch bigint NOT NULL DEFAULT 0,
  created_at timestamptz NOT NULL DEFAULT now());

ALTER TABLE tenants ENABLE ROW LEVEL SECURITY;
ALTER TABLE tenants FORCE ROW LEVEL SECURITY;
CREATE POLICY own_rows ON tenants TO app
  USING (tenant_id = NULLIF(current_setting('app.tenant', true), ''))
  WITH CHECK (tenant_id = NULLIF(current_setting('app.tenant', true), ''));
CREATE POLICY all_rows ON tenants TO provisioner USING (true) WITH CHECK (true);
-- A tenant's own transactions read its quotas and never change them.
GRANT SELECT, UPDATE (epoch) ON tenants TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON tenants TO provisioner;
GRANT SELECT ON tenants TO observer;
