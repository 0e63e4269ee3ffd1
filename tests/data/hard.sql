-- Everything that is hard for a page-level replica in one script: transactions that do not fit into
-- the page cache or into one log entry, large blobs, VACUUM, dropped tables, savepoints, errors.
-- Nothing in it depends on chance or on the time of day.

PRAGMA foreign_keys = ON;
PRAGMA recursive_triggers = ON;
PRAGMA cache_size = 10; -- pages: what does not fit is written in the middle of a transaction
PRAGMA cache_spill = 5;

CREATE TABLE numbered (n INTEGER PRIMARY KEY, text TEXT, CHECK (n > 0));
CREATE TABLE large (id INTEGER PRIMARY KEY, content BLOB);
CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT UNIQUE);
CREATE TABLE child (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  parent_id INTEGER REFERENCES parent (id) ON DELETE CASCADE ON UPDATE CASCADE,
  note TEXT
);
CREATE INDEX child_by_parent ON child (parent_id);
CREATE TABLE deferred_child (
  id INTEGER PRIMARY KEY,
  parent_id INTEGER REFERENCES parent (id) DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE keyed (a TEXT, b INTEGER, c REAL, PRIMARY KEY (a, b DESC)) WITHOUT ROWID;
CREATE TABLE audit (id INTEGER PRIMARY KEY, what TEXT);
CREATE TABLE generated (a INTEGER, b INTEGER AS (a * 2) STORED, c TEXT AS (printf('%05d', a)));
CREATE VIRTUAL TABLE words USING fts5 (body, tag UNINDEXED, prefix = '2 3');

CREATE TRIGGER child_audit AFTER INSERT ON child BEGIN
  INSERT INTO audit (what) VALUES ('child ' || new.id || ' of ' || ifnull(new.parent_id, 'nobody'));
END;
CREATE TRIGGER countdown AFTER INSERT ON audit WHEN new.what GLOB 'count [1-9]*' BEGIN
  INSERT INTO audit (what) VALUES ('count ' || (CAST(substr(new.what, 7) AS INTEGER) - 1));
END;

-- ---- larger than the page cache

BEGIN;
WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000)
INSERT INTO numbered SELECT n, printf('%08x-%d', (n * 2654435761) % 4294967296, n * n) FROM c;
UPDATE numbered SET text = text || '-even' WHERE n % 2 = 0;
CREATE INDEX numbered_by_text ON numbered (text);
DELETE FROM numbered WHERE n % 5 = 0;
COMMIT;

-- Rolled back after it was written half.
BEGIN;
UPDATE numbered SET text = upper(text);
DELETE FROM numbered WHERE n > 1000;
ROLLBACK;

-- ---- blobs of a megabyte, and one transaction of more than a log entry holds

INSERT INTO large VALUES (1, zeroblob(1000000));
BEGIN;
WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 65536)
INSERT INTO large
  SELECT 2, CAST(group_concat(printf('%016x', n * 2654435761 * 40503 % 9223372036854775807), '')
                 AS BLOB) FROM c;
INSERT INTO large SELECT 3, replace(CAST(content AS TEXT), '0', 'zero') FROM large WHERE id = 2;
INSERT INTO large SELECT 4, content || content FROM large WHERE id = 2;
COMMIT;
UPDATE large SET content = zeroblob(1048576) WHERE id = 1;
BEGIN;
UPDATE large SET content = replace(content, 'a', 'b') WHERE id = 4;
DELETE FROM large WHERE id = 3;
SAVEPOINT s;
DELETE FROM large;
ROLLBACK TO s;
COMMIT;

-- ---- foreign keys, triggers, statements that fail

INSERT INTO parent VALUES (1, 'one'), (2, 'two'), (3, 'three');
INSERT INTO child (parent_id, note) VALUES (1, 'a'), (2, 'b'), (2, 'c'), (NULL, 'd');
INSERT INTO child (parent_id, note) VALUES (99, 'no such parent');
UPDATE parent SET id = id + 10 WHERE id = 2;
DELETE FROM parent WHERE name = 'one';
INSERT INTO parent VALUES (20, 'three');
INSERT INTO numbered VALUES (-1, 'refused by a check');
BEGIN;
INSERT INTO deferred_child VALUES (1, 77);
INSERT INTO parent VALUES (77, 'in time');
COMMIT;
BEGIN;
INSERT INTO deferred_child VALUES (2, 88);
COMMIT; -- fails, and leaves the transaction open
DELETE FROM deferred_child WHERE id = 2;
COMMIT;
BEGIN;
INSERT INTO parent VALUES (30, 'gone with the transaction');
INSERT OR ROLLBACK INTO parent VALUES (31, 'three');
COMMIT; -- fails: there is none any more
INSERT INTO audit (what) VALUES ('count 20');

-- ---- savepoints, also as the outermost transaction

SAVEPOINT outer_one;
INSERT INTO keyed VALUES ('x', 1, 1.5), ('x', 2, 2.5), ('y', 1, -0.0);
SAVEPOINT inner_one;
DELETE FROM keyed WHERE a = 'x';
INSERT INTO keyed VALUES ('z', 9, 1e300);
ROLLBACK TO inner_one;
UPDATE keyed SET c = c * 2;
RELEASE inner_one;
RELEASE outer_one;
SAVEPOINT nothing_stays;
DELETE FROM keyed;
DROP TABLE audit;
ROLLBACK TO nothing_stays;
RELEASE nothing_stays;

-- ---- full-text search, generated columns, rows that depend on rows before

WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 1500)
INSERT INTO words
  SELECT printf('entry %d of term %d and index %d', n, n % 13, n * 7919 % 1000), n % 3 FROM c;
DELETE FROM words WHERE words MATCH 'term 7';
UPDATE words SET body = body || ' changed' WHERE rowid % 10 = 0;
INSERT INTO words (words, rank) VALUES ('merge', 16);
INSERT INTO generated (a) VALUES (1), (22), (333);
CREATE INDEX generated_index ON generated (b, c);
INSERT INTO child (parent_id, note) VALUES (3, 'the last');
INSERT INTO audit (what) VALUES ('its id was ' || last_insert_rowid());
INSERT INTO keyed SELECT text, n, n / 3.0 FROM numbered WHERE n < 800;

-- ---- dropped and made again; VACUUM

CREATE TABLE short_lived AS SELECT * FROM numbered;
CREATE UNIQUE INDEX short_lived_index ON short_lived (text, n);
DROP TABLE short_lived;
DROP INDEX numbered_by_text;
VACUUM;
PRAGMA auto_vacuum = FULL;
VACUUM;
DELETE FROM large WHERE id = 4;
DELETE FROM numbered WHERE n % 3 = 0;
BEGIN EXCLUSIVE;
DROP TABLE generated;
CREATE TABLE generated (a, b);
INSERT INTO generated SELECT n, text FROM numbered WHERE n < 500;
COMMIT;
ALTER TABLE numbered RENAME COLUMN text TO words;
ALTER TABLE child ADD COLUMN extra TEXT DEFAULT 'none';
REINDEX;
PRAGMA user_version = 42;
PRAGMA application_id = 1903260017;
BEGIN;
INSERT INTO words (words) VALUES ('rebuild');
INSERT INTO words (words) VALUES ('optimize');
COMMIT;
VACUUM;
ANALYZE;
INSERT INTO audit (what) VALUES ('the end')
