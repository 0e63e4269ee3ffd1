-- A small library that lends books: the script that three_replicas runs when it is given none.
--
-- It uses what applications use: foreign keys, triggers, views, explicit transactions, a savepoint
-- that is rolled back, full-text search, a table without rowid, generated rows, VACUUM. It depends
-- on nothing but itself: no clock, no random numbers.

PRAGMA foreign_keys = ON;

-- ---- who and what there is

BEGIN;

CREATE TABLE author (
  id   INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
);

CREATE TABLE book (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  author_id INTEGER NOT NULL REFERENCES author (id) ON DELETE CASCADE,
  title     TEXT NOT NULL,
  year      INTEGER CHECK (year BETWEEN 1400 AND 2100),
  copies    INTEGER NOT NULL DEFAULT 1 CHECK (copies >= 0)
);
CREATE INDEX book_by_author ON book (author_id, year);

CREATE TABLE member (
  id     INTEGER PRIMARY KEY,
  name   TEXT NOT NULL,
  joined TEXT NOT NULL
);

-- A member has a book once at most: the key is the row, so no rowid is needed.
CREATE TABLE loan (
  member_id INTEGER NOT NULL REFERENCES member (id),
  book_id   INTEGER NOT NULL REFERENCES book (id) ON DELETE CASCADE,
  due       TEXT NOT NULL,
  PRIMARY KEY (member_id, book_id)
) WITHOUT ROWID;

CREATE TABLE history (
  id   INTEGER PRIMARY KEY,
  what TEXT NOT NULL
);

-- The words of the titles, kept up to date by triggers.
CREATE VIRTUAL TABLE title_search USING fts5 (title, content = 'book', content_rowid = 'id');

COMMIT;

CREATE TRIGGER book_added AFTER INSERT ON book BEGIN
  INSERT INTO title_search (rowid, title) VALUES (new.id, new.title);
END;

CREATE TRIGGER book_removed AFTER DELETE ON book BEGIN
  INSERT INTO title_search (title_search, rowid, title) VALUES ('delete', old.id, old.title);
END;

CREATE TRIGGER book_renamed AFTER UPDATE OF title ON book BEGIN
  INSERT INTO title_search (title_search, rowid, title) VALUES ('delete', old.id, old.title);
  INSERT INTO title_search (rowid, title) VALUES (new.id, new.title);
END;

-- A lent copy is no longer on the shelf; lending the last one twice is an error.
CREATE TRIGGER book_lent AFTER INSERT ON loan BEGIN
  UPDATE book SET copies = copies - 1 WHERE id = new.book_id;
  INSERT INTO history (what)
    SELECT m.name || ' borrows "' || b.title || '"'
    FROM member m, book b WHERE m.id = new.member_id AND b.id = new.book_id;
END;

CREATE TRIGGER book_returned AFTER DELETE ON loan BEGIN
  UPDATE book SET copies = copies + 1 WHERE id = old.book_id;
  INSERT INTO history (what) VALUES ('book ' || old.book_id || ' is back');
END;

CREATE VIEW on_loan AS
  SELECT member.name AS member, book.title AS title, loan.due AS due
  FROM loan JOIN member ON member.id = member_id JOIN book ON book.id = book_id;

-- ---- the shelves are filled, each statement a transaction of its own

INSERT INTO author (id, name) VALUES (1, 'Mary Shelley');
INSERT INTO author (id, name) VALUES (2, 'Jules Verne');
INSERT INTO author (id, name) VALUES (3, 'Selma Lagerlöf');
INSERT INTO author (id, name) VALUES (4, 'Herman Melville');

INSERT INTO book (author_id, title, year) VALUES (1, 'Frankenstein', 1818);
INSERT INTO book (author_id, title, year) VALUES (1, 'The Last Man', 1826);
INSERT INTO book (author_id, title, year, copies) VALUES
  (2, 'Journey to the Centre of the Earth', 1864, 2),
  (2, 'Twenty Thousand Leagues under the Sea', 1870, 3),
  (2, 'The Mysterious Island', 1875, 1),
  (2, 'Around the World in Eighty Days', 1872, 2);
INSERT INTO book (author_id, title, year) VALUES (3, 'Gösta Berling''s Saga', 1891);
INSERT INTO book (author_id, title, year, copies) VALUES (4, 'Moby-Dick; or, The Whale', 1851, 2);

INSERT INTO member (id, name, joined) VALUES
  (1, 'Ada', '2023-01-10'), (2, 'Bela', '2023-02-14'), (3, 'Cleo', '2023-03-01');

-- ---- people come and go: transactions of several statements

BEGIN;
INSERT INTO loan VALUES (1, 1, '2024-05-01');
INSERT INTO loan VALUES (1, 4, '2024-05-01');
UPDATE member SET name = 'Ada L.' WHERE id = 1;
COMMIT;

BEGIN IMMEDIATE;
INSERT INTO loan VALUES (2, 4, '2024-05-08');
SAVEPOINT maybe;
INSERT INTO loan VALUES (2, 8, '2024-05-08');
INSERT INTO loan VALUES (2, 7, '2024-05-08');
ROLLBACK TO maybe; -- too many at a time
RELEASE maybe;
INSERT INTO loan VALUES (2, 3, '2024-05-08');
COMMIT;

-- Changed their mind: nothing of this stays.
BEGIN;
INSERT INTO member (id, name, joined) VALUES (4, 'Dora', '2024-04-30');
INSERT INTO loan VALUES (4, 5, '2024-06-01');
ROLLBACK;

-- An upsert, then a statement that reads what it writes.
INSERT INTO member (id, name, joined) VALUES (3, 'Cleo', '2023-03-02')
  ON CONFLICT (id) DO UPDATE SET joined = excluded.joined;
INSERT INTO history (what) SELECT 'due on ' || due || ': ' || count(*) FROM on_loan GROUP BY due;

-- ---- the archive: many rows in one transaction

BEGIN;
INSERT INTO author (id, name) VALUES (100, 'Archive');
WITH RECURSIVE volume (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM volume WHERE n < 400)
INSERT INTO book (author_id, title, year)
  SELECT 100, printf('Annals of the Library, Volume %d', n), 1500 + n FROM volume;
UPDATE book SET title = replace(title, 'Annals', 'Chronicles')
  WHERE author_id = 100 AND year % 3 = 0;
DELETE FROM book WHERE author_id = 100 AND year % 7 = 0;
COMMIT;

CREATE TABLE word_count AS
  SELECT 'chronicles' AS word, count(*) AS titles FROM title_search
  WHERE title_search MATCH 'chronicles';

BEGIN;
DELETE FROM loan WHERE member_id = 1 AND book_id = 1;
INSERT INTO loan VALUES (3, 1, '2024-06-15');
UPDATE book SET title = 'Frankenstein; or, The Modern Prometheus' WHERE id = 1;
COMMIT;

-- The archive moves to another building: its books go with their author.
DELETE FROM author WHERE name = 'Archive';
DROP TABLE word_count;

ALTER TABLE member ADD COLUMN email TEXT;
UPDATE member SET email = lower(substr(name, 1, 3)) || '@example.org';

INSERT INTO title_search (title_search) VALUES ('optimize');
VACUUM;

BEGIN;
DELETE FROM loan WHERE due < '2024-05-05';
DELETE FROM history WHERE what LIKE '%is back';
INSERT INTO history (what) VALUES ('closed for the summer');
COMMIT;
ANALYZE;
