-- What is known of a market's book at an instant: one row, whether there is a book or not.

-- The groups that the state rests on: kb_groups; where these are closes only, those of the hour with records before them
-- too, and where there are none, those of the last hour before that told of the market: it was over, given up, or missing
-- for longer than a gap is carried. Earlier coverage is looked through only where no pointer leads on.
CREATE OR REPLACE MACRO kb_past(tk, ts) AS TABLE
  WITH hour AS (SELECT count(*) > 0 AS published FROM coverage WHERE dt = kb_day(ts) AND hr = kb_hour(ts)),
  near AS (FROM kb_groups(tk, ts)),
  edge AS (
    SELECT count(*) FILTER (WHERE kind <> 3) = 0 AS wanted, coalesce(max(dt), '') AS dt, coalesce(max(hr), -1) AS hr,
      max(ts_recv) AS last
    FROM near
  ),
  pointer AS (
    SELECT max(last_record_hour) AS start FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt = (SELECT dt FROM edge) AND hr = (SELECT hr FROM edge)
  ),
  reach AS (
    SELECT kb_hour_start(coalesce(e.last, ts::TIMESTAMPTZ)) AS stop, h.published AND e.wanted AS wanted, p.start
    FROM hour AS h CROSS JOIN edge AS e CROSS JOIN pointer AS p
  ),
  told AS (
    SELECT CASE WHEN len(bases) > 0 THEN ts_from ELSE last_record_hour END AS start FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt <= (SELECT CASE WHEN wanted AND start IS NULL THEN kb_day(stop) ELSE '' END FROM reach)
      AND ts_from < (SELECT stop FROM reach)
    ORDER BY ts_to DESC, ts_from DESC LIMIT 1
  ),
  place AS (
    SELECT coalesce(kb_day(start), '') AS dt, coalesce(kb_hour(start), -1) AS hr
    FROM (SELECT CASE WHEN wanted THEN coalesce(start, (SELECT max(start) FROM told)) END AS start FROM reach)
  ),
  found AS (
    SELECT dt, hr, unnest(bases) AS base FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt = (SELECT dt FROM place) AND hr = (SELECT hr FROM place)
  )
  FROM near
  UNION ALL
  SELECT dt, hr, base.ts_recv, base.conn, base.seq, base.kind, base.reason FROM found;

-- The last group; of the closes after the last book: whether one ended the market, and the first that opened a gap.
CREATE OR REPLACE MACRO kb_top(tk, ts) AS TABLE
  WITH ranked AS (
    SELECT *,
      row_number() OVER latest AS place,
      sum((kind <> 3)::INTEGER) OVER latest AS books,
      coalesce(sum((reason = 'unsubscribed')::INTEGER) OVER latest, 0) AS given_up
    FROM kb_past(tk, ts)
    WINDOW latest AS (ORDER BY ts_recv DESC, conn DESC, seq DESC, kind DESC)
  ),
  closes AS (
    SELECT *, given_up = 0 AND reason NOT IN ('moved', 'unsubscribed', 'market_closed') AS opens FROM ranked WHERE books = 0
  ),
  told AS (
    SELECT
      coalesce(bool_or(reason = 'market_closed'), false) AS over,
      arg_min(reason, ts_recv) FILTER (WHERE opens) AS gap_reason,
      min(ts_recv) FILTER (WHERE opens) AS gap_from
    FROM closes
  )
  SELECT r.dt, r.hr, r.ts_recv, r.conn, r.seq, r.kind, r.reason, t.over, t.gap_reason, t.gap_from
  FROM told AS t LEFT JOIN ranked AS r ON r.place = 1;

-- The gap that an instant lies in: a silence of `cn`, or the market's own. A piece that is cut by its hour goes on in the
-- next one; days before and after are looked at only then. ts_to is null where no published hour shows the end.
CREATE OR REPLACE MACRO kb_gap(tk, ts, cn) AS TABLE
  WITH piece AS (
    SELECT '*' AS ticker, 'silence' AS state, conn, ts_from, ts_to, 'stall' AS reason FROM kb_silence(ts) WHERE conn = cn
    UNION ALL
    SELECT ticker, state, conn, ts_from, ts_to, end_reason FROM kb_here(tk, ts)
    WHERE state = 'gap' AND ts_from <= ts::TIMESTAMPTZ AND ts::TIMESTAMPTZ < ts_to
  ),
  cut AS (
    SELECT count(*) > 0 AS yes FROM piece
    WHERE ts_from = kb_hour_start(ts) OR ts_to = kb_hour_start(ts) + INTERVAL 1 HOUR
  ),
  pieces AS (
    SELECT c.ts_from, c.ts_to FROM coverage AS c JOIN piece AS p ON c.ticker = p.ticker AND c.state = p.state
    WHERE c.ticker IN (tk, '*') AND c.state IN ('gap', 'silence') AND (c.state = 'gap' OR c.conn = p.conn)
      AND c.dt >= (SELECT CASE WHEN yes THEN kb_day(ts::TIMESTAMPTZ - INTERVAL 48 HOUR) ELSE '~' END FROM cut)
      AND c.dt >= kb_day(ts::TIMESTAMPTZ - INTERVAL 48 HOUR) AND c.dt <= kb_day(ts::TIMESTAMPTZ + INTERVAL 48 HOUR)
    UNION
    SELECT ts_from, ts_to FROM piece
  ),
  marked AS (
    SELECT *, epoch_us(ts_from) % 3600000000 <> 0 OR coalesce(epoch_us(lag(ts_to) OVER w) % 3600000000 <> 0, true) AS begins
    FROM pieces WHERE ts_from < ts_to WINDOW w AS (ORDER BY ts_from, ts_to)
  ),
  numbered AS (
    SELECT *, sum(begins::INTEGER) OVER (ORDER BY ts_from, ts_to ROWS UNBOUNDED PRECEDING) AS number FROM marked
  ),
  whole AS (SELECT min(ts_from) AS ts_from, max(ts_to) AS ts_to FROM numbered GROUP BY number),
  gap AS (FROM whole WHERE ts_from <= ts::TIMESTAMPTZ AND ts::TIMESTAMPTZ < ts_to),
  edge AS (SELECT max(ts_to) AS stop FROM gap WHERE epoch_us(ts_to) % 3600000000 = 0),
  place AS (SELECT coalesce(kb_day(stop), '') AS dt, coalesce(kb_hour(stop), -1) AS hr, stop FROM edge),
  after AS (
    SELECT count(*) > 0 AS known FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state = 'known' AND ts_from = (SELECT stop FROM place)
      AND dt = (SELECT dt FROM place) AND hr = (SELECT hr FROM place)
  )
  SELECT p.reason, g.ts_from, CASE WHEN e.stop IS NULL OR a.known THEN g.ts_to END AS ts_to
  FROM piece AS p CROSS JOIN gap AS g CROSS JOIN edge AS e CROSS JOIN after AS a;

-- state: known, gap, closed (over), unsubscribed (given up), not_recorded (nothing up to then), not_published (the hour).
-- In a gap: its reason, from and to. Else: the base (snapshot or checkpoint) with its instant, how many deltas follow it,
-- conn and seq of the last record, the last change, how many levels, and the digest.
CREATE OR REPLACE MACRO book_state(tk, ts) AS TABLE
  WITH top AS (FROM kb_top(tk, ts)),
  silence AS (FROM kb_silence(ts)),
  published AS (SELECT count(*) > 0 AS yes FROM coverage WHERE dt = kb_day(ts) AND hr = kb_hour(ts)),
  word AS (
    SELECT t.*,
      CASE WHEN NOT p.yes THEN 'not_published'
        WHEN t.kind IS NULL THEN 'not_recorded'
        WHEN t.kind <> 3 THEN CASE WHEN t.conn IN (SELECT conn FROM silence) THEN 'gap' ELSE 'known' END
        WHEN t.over THEN 'closed'
        WHEN t.reason = 'unsubscribed' THEN 'unsubscribed'
        ELSE 'gap' END AS state
    FROM published AS p CROSS JOIN top AS t
  ),
  base AS (FROM word WHERE state = 'known'),
  place AS (SELECT coalesce(max(dt), '') AS dt, coalesce(max(hr), -1) AS hr FROM base),
  used AS (
    SELECT o.ts_recv, o.seq, o.kind, o.side, o.price_e4, o.qty_e2
    FROM orderbook AS o JOIN base AS b ON o.conn = b.conn AND o.ts_recv >= b.ts_recv AND o.seq >= b.seq
    WHERE o.ticker = tk AND o.ts_recv <= ts::TIMESTAMPTZ
      AND o.dt = (SELECT dt FROM place) AND o.hr = (SELECT hr FROM place)
      AND ((o.kind = 1 AND o.seq > b.seq) OR (o.kind = b.kind AND o.seq = b.seq AND o.ts_recv = b.ts_recv))
  ),
  levels AS (
    SELECT side, price_e4, sum(qty_e2)::BIGINT AS qty_e2 FROM used
    WHERE side IS NOT NULL GROUP BY side, price_e4 HAVING sum(qty_e2) <> 0
  ),
  book AS (
    SELECT
      count(*) AS levels,
      coalesce(string_agg(
        CASE WHEN qty_e2 > 0 THEN CASE side WHEN 0 THEN 'Y' ELSE 'N' END || price_e4 || '=' || qty_e2 || chr(10)
          ELSE error('a level below zero: the book is withheld') END,
        '' ORDER BY side, price_e4), '') AS lines
    FROM levels
  ),
  changes AS (
    SELECT count(*) FILTER (WHERE kind = 1) AS deltas, max(seq) AS seq, max(ts_recv) FILTER (WHERE kind = 1) AS last FROM used
  ),
  -- An hour's first checkpoint states a book older than its stamp: the hour before it knows the last change.
  stale AS (
    SELECT coalesce(max(b.dt), '') AS dt, coalesce(max(b.hr), -1) AS hr FROM base AS b CROSS JOIN changes AS c
    WHERE b.kind = 2 AND epoch_us(b.ts_recv) % 3600000000 = 0 AND c.deltas = 0
  ),
  pointer AS (
    SELECT max(last_record_hour) AS start FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt = (SELECT dt FROM stale) AND hr = (SELECT hr FROM stale)
  ),
  earlier AS (SELECT coalesce(kb_day(start), '') AS dt, coalesce(kb_hour(start), -1) AS hr FROM pointer),
  before AS (
    SELECT max(last_change) AS last FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt = (SELECT dt FROM earlier) AND hr = (SELECT hr FROM earlier)
  )
  SELECT
    w.state,
    CASE w.state WHEN 'gap' THEN coalesce(g.reason, w.gap_reason, w.reason)
      WHEN 'closed' THEN 'market_closed' WHEN 'unsubscribed' THEN 'unsubscribed' END AS reason,
    CASE WHEN w.state = 'gap' THEN coalesce(g.ts_from, w.gap_from, w.ts_recv) END AS gap_from,
    CASE WHEN w.state = 'gap' THEN g.ts_to END AS gap_to,
    CASE WHEN w.state = 'known' THEN CASE w.kind WHEN 0 THEN 'snapshot' ELSE 'checkpoint' END END AS basis,
    CASE WHEN w.state = 'known' THEN w.ts_recv END AS basis_at,
    w.conn,
    CASE WHEN w.state = 'known' THEN c.seq ELSE w.seq END AS seq,
    CASE WHEN w.state = 'known' THEN c.deltas END AS deltas,
    CASE WHEN w.state = 'known' THEN coalesce(c.last, p.last, w.ts_recv) END AS last_change,
    CASE WHEN w.state = 'known' THEN b.levels END AS levels,
    CASE WHEN w.state = 'known' THEN sha256(b.lines)[:16] END AS digest
  FROM word AS w CROSS JOIN changes AS c CROSS JOIN book AS b CROSS JOIN before AS p
  LEFT JOIN (FROM kb_gap(tk, ts, (SELECT CASE WHEN kind <> 3 THEN conn END FROM top))) AS g ON w.state = 'gap';
