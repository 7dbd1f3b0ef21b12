-- The best prices of a market over [t0, t1) in YES terms: one row at t0, and one at each change of a price or size, or
-- of what is known. `state` and `reason` are those of book_state; there are no prices where the book is not known. The
-- ask is what the best NO bid leaves of a dollar.

CREATE OR REPLACE MACRO bbo(tk, t0, t1) AS TABLE
  -- The book at t0 is step 0; each later group of rows is one step. A full book begins an era, within which the size
  -- of a level is a running sum.
  WITH later AS (
    SELECT ts_recv, conn, seq, kind, side, price_e4, qty_e2,
      dense_rank() OVER (ORDER BY ts_recv, conn, seq, kind) AS step
    FROM orderbook
    WHERE ticker = tk AND kind <> 4 AND ts_recv > t0::TIMESTAMPTZ AND ts_recv < t1::TIMESTAMPTZ
      AND (dt > kb_day(t0) OR (dt = kb_day(t0) AND hr >= kb_hour(t0)))
      AND (dt < kb_day(t1) OR (dt = kb_day(t1) AND hr <= kb_hour(t1)))
  ),
  eras AS (
    SELECT step AS era, lead(step, 1, 9223372036854775807) OVER (ORDER BY step) AS era_end
    FROM (SELECT DISTINCT step FROM later WHERE kind <> 1 UNION SELECT 0)
  ),
  rows AS (
    SELECT 0 AS step, side, price_e4, qty_e2 FROM kb_levels(tk, t0)
    UNION ALL
    SELECT step, side, price_e4, qty_e2 FROM later WHERE side IS NOT NULL
  ),
  sums AS (
    SELECT e.era, e.era_end, r.step, r.side, r.price_e4,
      sum(r.qty_e2) OVER (PARTITION BY e.era, r.side, r.price_e4 ORDER BY r.step)::BIGINT AS qty_e2,
      lead(r.step) OVER (PARTITION BY e.era, r.side, r.price_e4 ORDER BY r.step) AS next_step
    FROM rows AS r ASOF JOIN eras AS e ON r.step >= e.era
  ),
  levels AS (  -- each size of each level, and the steps for which it holds
    SELECT era, step, coalesce(next_step, era_end) AS step_end, side, price_e4,
      CASE WHEN qty_e2 < 0 THEN error('a level below zero: the book is withheld') ELSE qty_e2 END AS qty_e2,
      coalesce(lag(qty_e2) OVER (PARTITION BY era, side, price_e4 ORDER BY step), 0) AS before
    FROM sums
  ),
  -- Where a level appears or goes: there the best price may change. A level's life is from one to the other.
  edges AS (
    SELECT era, step, side, price_e4, qty_e2 > 0 AS there,
      lead(step) OVER (PARTITION BY era, side, price_e4 ORDER BY step) AS next_edge
    FROM levels WHERE (qty_e2 > 0) <> (before > 0)
  ),
  lives AS (
    SELECT d.era, d.side, d.price_e4, d.step, coalesce(d.next_edge, e.era_end) AS step_end
    FROM edges AS d JOIN eras AS e ON e.era = d.era WHERE d.there
  ),
  points AS (
    SELECT DISTINCT side, step FROM edges
    UNION
    SELECT s.side, e.era FROM eras AS e CROSS JOIN (VALUES (0), (1)) AS s(side)
  ),
  bests AS (
    SELECT p.side, p.step, max(l.price_e4) AS price_e4,
      lead(p.step, 1, 9223372036854775807) OVER (PARTITION BY p.side ORDER BY p.step) AS step_end
    FROM points AS p LEFT JOIN lives AS l ON l.side = p.side AND l.step <= p.step AND p.step < l.step_end
    GROUP BY p.side, p.step
  ),
  tops AS (  -- the best price of a side with its size, at each step where either may change
    SELECT b.side, greatest(b.step, l.step) AS step, b.price_e4, l.qty_e2
    FROM bests AS b JOIN levels AS l
      ON l.side = b.side AND l.price_e4 = b.price_e4 AND l.step < b.step_end AND b.step < l.step_end
    UNION ALL
    SELECT side, step, NULL, NULL FROM bests WHERE price_e4 IS NULL
  ),
  moments AS (
    SELECT 0 AS step, t0::TIMESTAMPTZ AS ts UNION ALL SELECT DISTINCT step, ts_recv FROM later
  ),
  -- What is known when: the market's pieces of coverage, less the silences of their conns, plus unpublished hours.
  hours_asked AS (
    SELECT unnest(
      generate_series(kb_hour_start(t0), t1::TIMESTAMPTZ - INTERVAL 1 MICROSECOND, INTERVAL 1 HOUR)) AS start
  ),
  published AS (
    SELECT DISTINCT dt, hr FROM coverage
    WHERE (dt > kb_day(t0) OR (dt = kb_day(t0) AND hr >= kb_hour(t0)))
      AND (dt < kb_day(t1) OR (dt = kb_day(t1) AND hr <= kb_hour(t1)))
  ),
  told AS (
    SELECT ticker, state, conn, ts_from, ts_to, end_reason, bases FROM coverage
    WHERE ticker IN (tk, '*') AND channel = 'orderbook'
      AND (dt > kb_day(t0) OR (dt = kb_day(t0) AND hr >= kb_hour(t0)))
      AND (dt < kb_day(t1) OR (dt = kb_day(t1) AND hr <= kb_hour(t1)))
  ),
  pieces AS (
    SELECT 1 AS weight, ts_from, ts_to, state = 'known' AS known, CASE WHEN state = 'gap' THEN end_reason END AS reason
    FROM told WHERE ticker = tk AND state IN ('known', 'gap') AND ts_from < ts_to
    UNION ALL
    SELECT 2, greatest(k.ts_from, s.ts_from), least(k.ts_to, s.ts_to), false, 'stall'
    FROM told AS k JOIN told AS s ON s.conn = k.conn
    WHERE k.ticker = tk AND k.state = 'known' AND s.state = 'silence' AND s.ts_from < k.ts_to AND k.ts_from < s.ts_to
    UNION ALL
    SELECT 0, h.start, h.start + INTERVAL 1 HOUR, false,
      CASE WHEN p.dt IS NULL THEN 'not_published' END
    FROM hours_asked AS h LEFT JOIN published AS p ON p.dt = kb_day(h.start) AND p.hr = kb_hour(h.start)
  ),
  turns AS (
    SELECT DISTINCT greatest(edge, t0::TIMESTAMPTZ) AS ts
    FROM (SELECT ts_from AS edge FROM pieces UNION ALL SELECT ts_to FROM pieces UNION ALL SELECT t0::TIMESTAMPTZ)
    WHERE edge < t1::TIMESTAMPTZ
  ),
  states AS (
    SELECT t.ts, arg_max(p.known, p.weight) AS known, arg_max({'text': p.reason}, p.weight).text AS reason
    FROM turns AS t JOIN pieces AS p ON p.ts_from <= t.ts AND t.ts < p.ts_to
    GROUP BY t.ts
  ),
  -- Where coverage has no piece of the market it is over, given up, or was never recorded.
  ends AS (
    SELECT t0::TIMESTAMPTZ AS ts,
      CASE WHEN state IN ('closed', 'unsubscribed') THEN state ELSE 'not_recorded' END AS word
    FROM book_state(tk, t0)
    UNION ALL
    SELECT one.ts_recv, CASE one.reason WHEN 'market_closed' THEN 'closed' ELSE one.reason END
    FROM (SELECT unnest(bases) AS one FROM told WHERE ticker = tk AND state IN ('known', 'gap'))
    WHERE one.kind = 3 AND one.reason IN ('market_closed', 'unsubscribed') AND one.ts_recv > t0::TIMESTAMPTZ
  ),
  worded AS (
    SELECT s.ts, {
      'state': CASE WHEN s.known THEN 'known' WHEN s.reason = 'not_published' THEN s.reason
        WHEN s.reason IS NOT NULL THEN 'gap' ELSE e.word END,
      'reason': CASE WHEN s.known OR s.reason = 'not_published' THEN NULL ELSE s.reason END} AS told
    FROM states AS s ASOF JOIN ends AS e ON s.ts >= e.ts
  ),
  changes AS (
    SELECT m.ts, t.step, CASE WHEN t.side = 0 THEN {'price': t.price_e4, 'qty': t.qty_e2} END AS yes,
      CASE WHEN t.side = 1 THEN {'price': t.price_e4, 'qty': t.qty_e2} END AS no, NULL AS told
    FROM tops AS t JOIN moments AS m ON m.step = t.step
    UNION ALL
    SELECT ts, -1, NULL, NULL, told FROM worded
  ),
  by_moment AS (
    SELECT ts,
      arg_max(yes, step) FILTER (WHERE yes IS NOT NULL) AS yes,
      arg_max(no, step) FILTER (WHERE no IS NOT NULL) AS no,
      any_value(told) AS told
    FROM changes GROUP BY ts
  ),
  filled AS (
    SELECT ts, last_value(yes IGNORE NULLS) OVER past AS yes, last_value(no IGNORE NULLS) OVER past AS no,
      last_value(told IGNORE NULLS) OVER past AS told
    FROM by_moment WINDOW past AS (ORDER BY ts ROWS UNBOUNDED PRECEDING)
  ),
  shown AS (
    SELECT ts, told.state AS state, told.reason AS reason,
      CASE WHEN told.state = 'known' THEN yes.price END AS bid_e4,
      CASE WHEN told.state = 'known' THEN yes.qty END AS bid_qty_e2,
      CASE WHEN told.state = 'known' THEN 10000 - no.price END AS ask_e4,
      CASE WHEN told.state = 'known' THEN no.qty END AS ask_qty_e2
    FROM filled
  ),
  compared AS (
    SELECT *, row(state, reason, bid_e4, bid_qty_e2, ask_e4, ask_qty_e2) AS now,
      lag(row(state, reason, bid_e4, bid_qty_e2, ask_e4, ask_qty_e2)) OVER (ORDER BY ts) AS before
    FROM shown
  )
  SELECT ts, state, reason, bid_e4, bid_qty_e2, ask_e4, ask_qty_e2 FROM compared
  WHERE before IS NULL OR now IS DISTINCT FROM before
  ORDER BY ts;
