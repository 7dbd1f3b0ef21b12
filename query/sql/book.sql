-- What the record says of one market at one instant: `tk` is its ticker, `ts` the instant, inclusive, a TIMESTAMPTZ or
-- what can be cast to one. Days and hours are UTC whatever the session's TimeZone is.
--
-- Files are chosen by dt and hr, which are computed from the instant, or compared with a subquery of exactly one row:
-- DuckDB then opens no other file. A join with an empty table would open them all. Each scan costs some 15 us a file
-- of the lake before it begins, so there are as few as can be.

CREATE OR REPLACE MACRO kb_day(ts) AS strftime(timezone('UTC', ts::TIMESTAMPTZ), '%Y-%m-%d');
CREATE OR REPLACE MACRO kb_hour(ts) AS hour(timezone('UTC', ts::TIMESTAMPTZ))::INTEGER;
CREATE OR REPLACE MACRO kb_hour_start(ts) AS
  timezone('UTC', date_trunc('hour', timezone('UTC', ts::TIMESTAMPTZ)));

-- The coverage of a market in the hour of an instant, and the silences of that hour.
CREATE OR REPLACE MACRO kb_hour_told(tk, ts) AS TABLE
  SELECT ticker, state, conn, ts_from, ts_to, end_reason, bases, last_record_hour, dt, hr FROM coverage
  WHERE ticker IN (tk, '*') AND channel = 'orderbook' AND state IN ('known', 'gap', 'silence')
    AND dt = kb_day(ts) AND hr = kb_hour(ts);

-- The levels of the last book at or before an instant, and whether its conn was silent then; none where it was closed
-- since. The book rests on the last snapshot or checkpoint of the instant's hour up to it; where there is none, on that
-- of the hour that coverage points to. A level below zero is damage, and the book is refused.
CREATE OR REPLACE MACRO kb_levels(tk, ts) AS TABLE
  WITH told AS MATERIALIZED (FROM kb_hour_told(tk, ts)),
  here AS (
    SELECT min(bases[1].ts_recv) AS first, max(last_record_hour) AS earlier FROM told WHERE ticker = tk
  ),
  pointer AS (
    SELECT coalesce(kb_day(start), '') AS dt, coalesce(kb_hour(start), -1) AS hr
    FROM (SELECT CASE WHEN first <= ts::TIMESTAMPTZ THEN NULL ELSE earlier END AS start FROM here)
  ),
  groups AS (
    SELECT dt, hr, unnest(bases) AS base FROM told WHERE ticker = tk
    UNION ALL
    SELECT dt, hr, unnest(bases) FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt = (SELECT dt FROM pointer) AND hr = (SELECT hr FROM pointer)
  ),
  last AS (
    SELECT dt, hr, base.ts_recv AS ts_recv, base.conn AS conn, base.seq AS seq, base.kind AS kind FROM groups
    WHERE base.ts_recv <= ts::TIMESTAMPTZ
    ORDER BY base.ts_recv DESC, base.conn DESC, base.seq DESC, base.kind DESC LIMIT 1
  ),
  base AS (FROM last WHERE kind <> 3),
  place AS (SELECT coalesce(max(dt), '') AS dt, coalesce(max(hr), -1) AS hr FROM base),
  silent AS (
    SELECT count(*) > 0 AS yes FROM base AS b JOIN told AS t ON t.conn = b.conn
    WHERE t.state = 'silence' AND t.ts_from <= ts::TIMESTAMPTZ AND ts::TIMESTAMPTZ < t.ts_to
  ),
  levels AS (
    SELECT o.side, o.price_e4, sum(o.qty_e2)::BIGINT AS qty_e2
    FROM orderbook AS o JOIN base AS b ON o.conn = b.conn AND o.ts_recv >= b.ts_recv AND o.seq >= b.seq
    WHERE o.ticker = tk AND o.ts_recv <= ts::TIMESTAMPTZ AND o.side IS NOT NULL
      AND o.dt = (SELECT dt FROM place) AND o.hr = (SELECT hr FROM place)
      AND ((o.kind = 1 AND o.seq > b.seq) OR (o.kind = b.kind AND o.seq = b.seq AND o.ts_recv = b.ts_recv))
    GROUP BY o.side, o.price_e4
  )
  SELECT l.side, l.price_e4, s.yes AS silent,
    CASE WHEN l.qty_e2 > 0 THEN l.qty_e2 ELSE error('a level below zero: the book is withheld') END AS qty_e2
  FROM levels AS l CROSS JOIN silent AS s WHERE l.qty_e2 <> 0;

-- The book of a market at an instant, best prices first; no rows where it is empty or not known: book_state says which.
CREATE OR REPLACE MACRO book_at(tk, ts) AS TABLE
  SELECT
    side,
    price_e4,
    qty_e2,
    (price_e4 * 0.0001)::DECIMAL(6, 4) AS price_dollars,
    (qty_e2 * 0.01)::DECIMAL(20, 2) AS quantity
  FROM kb_levels(tk, ts)
  WHERE NOT silent
  ORDER BY side, price_e4 DESC;
