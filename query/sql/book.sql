-- What the record says of one market at one instant: `tk` is its ticker, `ts` the instant, inclusive, a TIMESTAMPTZ or
-- what can be cast to one. Days and hours are UTC whatever the session's TimeZone is.
--
-- Files are chosen by dt and hr, which are computed from the instant, or compared with a subquery of exactly one row:
-- DuckDB then opens no other file. A join with an empty table would open them all.

CREATE OR REPLACE MACRO kb_day(ts) AS strftime(timezone('UTC', ts::TIMESTAMPTZ), '%Y-%m-%d');
CREATE OR REPLACE MACRO kb_hour(ts) AS hour(timezone('UTC', ts::TIMESTAMPTZ))::INTEGER;
CREATE OR REPLACE MACRO kb_hour_start(ts) AS
  timezone('UTC', date_trunc('hour', timezone('UTC', ts::TIMESTAMPTZ)));

-- The coverage of one market in the hour of an instant.
CREATE OR REPLACE MACRO kb_here(tk, ts) AS TABLE
  SELECT * FROM coverage
  WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap') AND dt = kb_day(ts) AND hr = kb_hour(ts);

-- The snapshots, checkpoints and closes that the book at an instant may rest on: those of the instant's hour up to it;
-- where there are none, those of the hour that coverage points to.
CREATE OR REPLACE MACRO kb_groups(tk, ts) AS TABLE
  WITH here AS (
    SELECT min(bases[1].ts_recv) AS first, max(last_record_hour) AS earlier FROM kb_here(tk, ts)
  ),
  place AS (
    SELECT coalesce(kb_day(start), '') AS dt, coalesce(kb_hour(start), -1) AS hr
    FROM (SELECT CASE WHEN first <= ts::TIMESTAMPTZ THEN kb_hour_start(ts) ELSE earlier END AS start FROM here)
  ),
  found AS (
    SELECT dt, hr, unnest(bases) AS base FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt = (SELECT dt FROM place) AND hr = (SELECT hr FROM place)
  )
  SELECT dt, hr, base.ts_recv, base.conn, base.seq, base.kind, base.reason FROM found
  WHERE base.ts_recv <= ts::TIMESTAMPTZ;

-- The levels of the last book at or before an instant, with its conn; none where it was closed since. A level below zero
-- is damage, and the book is refused.
CREATE OR REPLACE MACRO kb_levels(tk, ts) AS TABLE
  WITH base AS (
    SELECT * FROM (FROM kb_groups(tk, ts) ORDER BY ts_recv DESC, conn DESC, seq DESC, kind DESC LIMIT 1) WHERE kind <> 3
  ),
  place AS (SELECT coalesce(max(dt), '') AS dt, coalesce(max(hr), -1) AS hr FROM base),
  levels AS (
    SELECT b.conn, o.side, o.price_e4, sum(o.qty_e2)::BIGINT AS qty_e2
    FROM orderbook AS o JOIN base AS b ON o.conn = b.conn AND o.ts_recv >= b.ts_recv AND o.seq >= b.seq
    WHERE o.ticker = tk AND o.ts_recv <= ts::TIMESTAMPTZ AND o.side IS NOT NULL
      AND o.dt = (SELECT dt FROM place) AND o.hr = (SELECT hr FROM place)
      AND ((o.kind = 1 AND o.seq > b.seq) OR (o.kind = b.kind AND o.seq = b.seq AND o.ts_recv = b.ts_recv))
    GROUP BY b.conn, o.side, o.price_e4
  )
  SELECT conn, side, price_e4,
    CASE WHEN qty_e2 > 0 THEN qty_e2 ELSE error('a level below zero: the book is withheld') END AS qty_e2
  FROM levels WHERE qty_e2 <> 0;

-- The silences that an instant lies in, by conn: no book that rests on it is known.
CREATE OR REPLACE MACRO kb_silence(ts) AS TABLE
  SELECT conn, ts_from, ts_to FROM coverage
  WHERE ticker = '*' AND state = 'silence' AND dt = kb_day(ts) AND hr = kb_hour(ts)
    AND ts_from <= ts::TIMESTAMPTZ AND ts::TIMESTAMPTZ < ts_to;

-- The book of a market at an instant, best prices first; no rows where it is empty or not known: book_state says which.
CREATE OR REPLACE MACRO book_at(tk, ts) AS TABLE
  SELECT
    side,
    price_e4,
    qty_e2,
    (price_e4 * 0.0001)::DECIMAL(6, 4) AS price_dollars,
    (qty_e2 * 0.01)::DECIMAL(20, 2) AS quantity
  FROM kb_levels(tk, ts)
  WHERE conn NOT IN (SELECT conn FROM kb_silence(ts))
  ORDER BY side, price_e4 DESC;
