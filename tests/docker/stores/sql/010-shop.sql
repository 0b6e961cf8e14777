CREATE TABLE lab_marker (run text PRIMARY KEY);
\getenv lab_run LAB_RUN
INSERT INTO lab_marker VALUES (:'lab_run');
\getenv password POSTGRES_PASSWORD
CREATE ROLE shop LOGIN PASSWORD :'password';
CREATE TABLE orders (tenant_id text NOT NULL, id int NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE TABLE stock (tenant_id text NOT NULL, id int NOT NULL, PRIMARY KEY (tenant_id, id));
INSERT INTO orders SELECT tenant, n FROM unnest(ARRAY['t-0', 't-1']) AS tenant, generate_series(1, 5) AS n;
INSERT INTO stock SELECT * FROM orders;
GRANT SELECT, INSERT, UPDATE ON orders, stock TO shop;
