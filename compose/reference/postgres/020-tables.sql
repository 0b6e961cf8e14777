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

-- A limited resource, and who holds a unit of it until when. `taken` is counted in the same statement
-- that allocates, and cannot pass the capacity; `fence` grows with every allocation.
CREATE TABLE resources (
  tenant_id tenant, name text NOT NULL, capacity int NOT NULL, taken int NOT NULL DEFAULT 0,
  fence bigint NOT NULL DEFAULT 0, CHECK (taken BETWEEN 0 AND capacity),
  PRIMARY KEY (tenant_id, name));

CREATE TABLE allocations (
  tenant_id tenant, message_id text NOT NULL, resource text NOT NULL, holder text NOT NULL,
  claimed_at timestamptz NOT NULL DEFAULT now(), expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, message_id),
  FOREIGN KEY (tenant_id, resource) REFERENCES resources (tenant_id, name));
CREATE INDEX allocations_by_resource ON allocations (tenant_id, resource, expires_at);

-- What each message has done: written with its effect, it is both the key by which a repeated message
-- is known and the event that the relay hands on.
CREATE TABLE outbox (
  tenant_id tenant, message_id text NOT NULL, seq bigint GENERATED ALWAYS AS IDENTITY,
  kind text NOT NULL, digest bytea NOT NULL, value text NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(), relayed_at timestamptz,
  PRIMARY KEY (tenant_id, message_id));
CREATE INDEX outbox_waiting ON outbox (tenant_id, seq) WHERE relayed_at IS NULL;

-- What the relay's consumer has taken in: each event once, however often it arrives.
CREATE TABLE deliveries (
  tenant_id tenant, message_id text NOT NULL,
  PRIMARY KEY (tenant_id, message_id),
  FOREIGN KEY (tenant_id, message_id) REFERENCES outbox (tenant_id, message_id) ON DELETE CASCADE);

CREATE TABLE usage (
  tenant_id tenant, kind text NOT NULL, count bigint NOT NULL,
  PRIMARY KEY (tenant_id, kind));

-- What lists are read from. With the reader's own rights: row security sees the reader, not the owner.
CREATE VIEW recent_messages WITH (security_invoker = true) AS
SELECT tenant_id, thread_id, seq, id, key, content FROM messages;

-- Which run of the lab this database was made for.
CREATE TABLE lab_marker (run text PRIMARY KEY);
\getenv lab_run LAB_RUN
INSERT INTO lab_marker VALUES (:'lab_run');
