-- Every tenant table: keys lead with tenant_id, so that no reference can cross tenants.
SET ROLE owner;

CREATE DOMAIN tenant AS text NOT NULL CHECK (VALUE ~ '^[a-z0-9-]{1,40}$');

CREATE TABLE auth_users (
  tenant_id tenant, id text NOT NULL, email text NOT NULL UNIQUE, role text NOT NULL DEFAULT 'user',
  password_hash text NOT NULL, is_active boolean NOT NULL DEFAULT true,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id));

CREATE TABLE auth_sessions (
  tenant_id tenant, id text NOT NULL, user_id text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL, closed_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES auth_users (tenant_id, id));

CREATE TABLE auth_audit_logs (
  tenant_id tenant, id bigint GENERATED ALWAYS AS IDENTITY, user_id text NOT NULL,
  event text NOT NULL, detail text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id));

CREATE TABLE threads (
  tenant_id tenant, id text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id));

CREATE TABLE messages (
  tenant_id tenant, id text NOT NULL, seq bigint GENERATED ALWAYS AS IDENTITY,
  thread_id text NOT NULL, user_id text NOT NULL, key text, content text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, thread_id) REFERENCES threads (tenant_id, id));
CREATE INDEX messages_by_key ON messages (tenant_id, key, seq DESC);
CREATE INDEX messages_by_seq ON messages (tenant_id, seq DESC);

CREATE TABLE credits (
  tenant_id tenant, user_id text NOT NULL, balance bigint NOT NULL CHECK (balance >= 0),
  PRIMARY KEY (tenant_id, user_id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES auth_users (tenant_id, id));

CREATE TABLE credit_ledger (
  tenant_id tenant, message_id text NOT NULL, user_id text NOT NULL, amount bigint NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, message_id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES credits (tenant_id, user_id));

CREATE TABLE agent_configurations (
  tenant_id tenant, name text NOT NULL, version bigint NOT NULL DEFAULT 1,
  document jsonb NOT NULL DEFAULT '{}', updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, name));

-- Which run of the lab this database was made for.
CREATE TABLE lab_marker (run text PRIMARY KEY);
\getenv lab_run LAB_RUN
INSERT INTO lab_marker VALUES (:'lab_run');
