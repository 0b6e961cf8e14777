CREATE TABLE lab_marker (run text PRIMARY KEY);
\getenv lab_run LAB_RUN
INSERT INTO lab_marker VALUES (:'lab_run');
CREATE TABLE orders (tenant_id text, id int, PRIMARY KEY (tenant_id, id));
CREATE TABLE stock (LIKE orders INCLUDING ALL);
INSERT INTO orders SELECT 'target-0', n FROM generate_series(1, 5) AS n;
INSERT INTO stock SELECT * FROM orders;
