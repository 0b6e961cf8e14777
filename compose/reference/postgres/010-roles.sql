-- Roles: `owner` owns and never logs in; the others log in, own nothing and bypass nothing, except
-- `observer`, which the lab alone uses: it reads everything and writes nothing.
\getenv app_password APP_PASSWORD
\getenv auth_password AUTH_PASSWORD
\getenv provisioner_password PROVISIONER_PASSWORD
\getenv observer_password OBSERVER_PASSWORD

CREATE ROLE owner NOLOGIN NOSUPERUSER NOBYPASSRLS;
CREATE ROLE app LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'app_password';
CREATE ROLE auth LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'auth_password';
CREATE ROLE provisioner LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD :'provisioner_password';
CREATE ROLE observer LOGIN NOSUPERUSER BYPASSRLS PASSWORD :'observer_password';
GRANT pg_monitor TO observer;
ALTER ROLE observer SET default_transaction_read_only = on;
-- Back-stops for a transaction that forgot its own limits.
ALTER ROLE app SET statement_timeout = '20s';
ALTER ROLE app SET idle_in_transaction_session_timeout = '20s';
-- Transactions here take milliseconds: one that has waited this long is worth a look at the lock graph.
ALTER ROLE app SET deadlock_timeout = '200ms';

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT CREATE, USAGE ON SCHEMA public TO owner;
GRANT USAGE ON SCHEMA public TO app, auth, provisioner, observer;
