-- What is known of a market's book at an instant: one row, whether there is a book or not.
--
-- state: known, gap, closed (over), unsubscribed (given up), not_recorded (nothing up to then), not_published (the
-- hour). In a gap: its reason, from and to. Else: the base (snapshot or checkpoint) with its instant, how many deltas
-- follow it, conn and seq of the last record, the last change, how many levels, and the digest.
CREATE OR REPLACE MACRO book_state(tk, ts) AS TABLE
  WITH told AS MATERIALIZED (FROM kb_hour_told(tk, ts)),
  here AS (
    SELECT min(bases[1].ts_recv) AS first, max(last_record_hour) AS earlier FROM told WHERE ticker = tk
  ),
  pointer AS (
    SELECT coalesce(kb_day(start), '') AS dt, coalesce(kb_hour(start), -1) AS hr
    FROM (SELECT CASE WHEN first <= ts::TIMESTAMPTZ THEN NULL ELSE earlier END AS start FROM here)
  ),
  far AS MATERIALIZED (
    SELECT dt, hr, bases, last_record_hour FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt = (SELECT dt FROM pointer) AND hr = (SELECT hr FROM pointer)
  ),
  near AS (
    FROM (
      SELECT dt, hr, last_record_hour, unnest(bases) AS base FROM told WHERE ticker = tk
      UNION ALL
      SELECT dt, hr, last_record_hour, unnest(bases) FROM far)
    WHERE base.ts_recv <= ts::TIMESTAMPTZ
  ),
  -- Where these are closes only, what was before them counts too: the hour that their coverage points to; where none
  -- does, the last one that told of the market. It was over, given up, or missing for longer than a gap is carried.
  -- Coverage of many hours is looked through only for that.
  hour AS (SELECT count(*) > 0 AS published FROM coverage WHERE dt = kb_day(ts) AND hr = kb_hour(ts)),
  edge AS (
    SELECT
      coalesce(count(*) FILTER (WHERE base.kind <> 3), 0) = 0 AS closes_only,
      max(last_record_hour) AS start,
      max(base.ts_recv) AS last
    FROM near
  ),
  reach AS (
    SELECT h.published AND e.closes_only AS wanted, e.start, kb_hour_start(coalesce(e.last, ts::TIMESTAMPTZ)) AS stop
    FROM hour AS h CROSS JOIN edge AS e
  ),
  told_before AS (
    SELECT CASE WHEN len(bases) > 0 THEN ts_from ELSE last_record_hour END AS start FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap') AND end_reason IS NOT NULL
      AND dt <= (SELECT CASE WHEN wanted AND start IS NULL THEN kb_day(stop) ELSE '' END FROM reach)
      AND ts_from < (SELECT stop FROM reach)
    ORDER BY ts_to DESC, ts_from DESC LIMIT 1
  ),
  back AS (
    SELECT coalesce(kb_day(start), '') AS dt, coalesce(kb_hour(start), -1) AS hr
    FROM (SELECT CASE WHEN wanted THEN coalesce(start, (SELECT max(start) FROM told_before)) END AS start FROM reach)
  ),
  groups AS (
    SELECT dt, hr, base, last_record_hour FROM near
    UNION ALL
    SELECT dt, hr, unnest(bases), last_record_hour FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt = (SELECT dt FROM back) AND hr = (SELECT hr FROM back)
  ),
  -- The last group; of the closes after the last book: whether one ended the market, and the first that opened a gap.
  ranked AS (
    SELECT *,
      row_number() OVER latest AS place,
      sum((base.kind <> 3)::INTEGER) OVER latest AS books,
      coalesce(sum((base.reason = 'unsubscribed')::INTEGER) OVER latest, 0) AS given_up
    FROM groups
    WINDOW latest AS (ORDER BY base.ts_recv DESC, base.conn DESC, base.seq DESC, base.kind DESC)
  ),
  closes AS (
    SELECT base.reason AS reason, base.ts_recv AS ts_recv,
      given_up = 0 AND base.reason NOT IN ('moved', 'unsubscribed', 'market_closed') AS opens
    FROM ranked WHERE books = 0
  ),
  ends AS (
    SELECT
      coalesce(bool_or(reason = 'market_closed'), false) AS over,
      arg_min(reason, ts_recv) FILTER (WHERE opens) AS gap_reason,
      min(ts_recv) FILTER (WHERE opens) AS gap_from
    FROM closes
  ),
  top AS (
    SELECT r.dt, r.hr, r.base.ts_recv AS ts_recv, r.base.conn AS conn, r.base.seq AS seq, r.base.kind AS kind,
      r.base.reason AS reason, r.last_record_hour, e.over, e.gap_reason, e.gap_from
    FROM ends AS e LEFT JOIN ranked AS r ON r.place = 1
  ),
  -- What hides the book: a silence of the base's conn, or the market's own gap. A piece that is cut by its hour goes on
  -- in the next one; days before and after are looked at only then.
  piece AS (
    SELECT t.ticker, t.state, t.conn, t.ts_from, t.ts_to, t.end_reason AS reason
    FROM told AS t CROSS JOIN top AS p
    WHERE t.ts_from <= ts::TIMESTAMPTZ AND ts::TIMESTAMPTZ < t.ts_to
      AND ((t.state = 'gap' AND p.kind = 3) OR (t.state = 'silence' AND t.conn = p.conn AND p.kind <> 3))
  ),
  cut AS (
    SELECT count(*) > 0 AS yes FROM piece
    WHERE ts_from = kb_hour_start(ts) OR ts_to = kb_hour_start(ts) + INTERVAL 1 HOUR
  ),
  pieces AS (
    SELECT c.ts_from, c.ts_to FROM coverage AS c JOIN piece AS p ON c.ticker = p.ticker AND c.state = p.state
    WHERE c.ticker IN (tk, '*') AND c.channel = 'orderbook' AND c.state IN ('gap', 'silence')
      AND (c.state = 'gap' OR c.conn = p.conn)
      AND c.dt >= (SELECT CASE WHEN yes THEN kb_day(ts::TIMESTAMPTZ - INTERVAL 48 HOUR) ELSE '~' END FROM cut)
      AND c.dt >= kb_day(ts::TIMESTAMPTZ - INTERVAL 48 HOUR) AND c.dt <= kb_day(ts::TIMESTAMPTZ + INTERVAL 48 HOUR)
    UNION
    SELECT ts_from, ts_to FROM piece
  ),
  marked AS (
    SELECT *,
      epoch_us(ts_from) % 3600000000 <> 0 OR coalesce(epoch_us(lag(ts_to) OVER w) % 3600000000 <> 0, true) AS begins
    FROM pieces WHERE ts_from < ts_to WINDOW w AS (ORDER BY ts_from, ts_to)
  ),
  numbered AS (
    SELECT *, sum(begins::INTEGER) OVER (ORDER BY ts_from, ts_to ROWS UNBOUNDED PRECEDING) AS number FROM marked
  ),
  whole AS (SELECT min(ts_from) AS ts_from, max(ts_to) AS ts_to FROM numbered GROUP BY number),
  gap AS (  -- one row, also where there is none
    SELECT max(ts_from) AS ts_from, max(ts_to) AS ts_to,
      max(CASE WHEN epoch_us(ts_to) % 3600000000 = 0 THEN ts_to END) AS stop
    FROM (FROM whole WHERE ts_from <= ts::TIMESTAMPTZ AND ts::TIMESTAMPTZ < ts_to)
  ),
  -- A gap that ends with an hour has ended only if a book begins there; else no published hour shows its end.
  stop AS (SELECT coalesce(kb_day(stop), '') AS dt, coalesce(kb_hour(stop), -1) AS hr, stop FROM gap),
  after AS (
    SELECT count(*) > 0 AS known FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state = 'known' AND ts_from = (SELECT stop FROM stop)
      AND dt = (SELECT dt FROM stop) AND hr = (SELECT hr FROM stop)
  ),
  hidden AS (SELECT count(*) FILTER (WHERE state = 'silence') > 0 AS silent, any_value(reason) AS reason FROM piece),
  word AS (
    SELECT t.*, d.reason AS hidden_by,
      CASE WHEN NOT h.published THEN 'not_published'
        WHEN t.kind IS NULL THEN 'not_recorded'
        WHEN t.kind <> 3 THEN CASE WHEN d.silent THEN 'gap' ELSE 'known' END
        WHEN t.over THEN 'closed'
        WHEN t.reason = 'unsubscribed' THEN 'unsubscribed'
        ELSE 'gap' END AS state
    FROM hour AS h CROSS JOIN top AS t CROSS JOIN hidden AS d
  ),
  base AS (FROM word WHERE state = 'known'),
  place AS (SELECT coalesce(max(dt), '') AS dt, coalesce(max(hr), -1) AS hr FROM base),
  used AS MATERIALIZED (
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
    SELECT count(*) FILTER (WHERE kind = 1) AS deltas, max(seq) AS seq, max(ts_recv) FILTER (WHERE kind = 1) AS last
    FROM used
  ),
  -- An hour's first checkpoint states a book older than its stamp: the hour with records before it has the last change.
  stale AS (
    SELECT coalesce(kb_day(start), '') AS dt, coalesce(kb_hour(start), -1) AS hr
    FROM (
      SELECT max(CASE WHEN b.kind = 2 AND epoch_us(b.ts_recv) % 3600000000 = 0 AND c.deltas = 0
        THEN b.last_record_hour END) AS start
      FROM base AS b CROSS JOIN changes AS c)
  ),
  before AS (
    SELECT max(last_change) AS last FROM coverage
    WHERE ticker = tk AND channel = 'orderbook' AND state IN ('known', 'gap')
      AND dt = (SELECT dt FROM stale) AND hr = (SELECT hr FROM stale)
  )
  SELECT
    w.state,
    CASE w.state WHEN 'gap' THEN coalesce(w.hidden_by, w.gap_reason, w.reason)
      WHEN 'closed' THEN 'market_closed' WHEN 'unsubscribed' THEN 'unsubscribed' END AS reason,
    CASE WHEN w.state = 'gap' THEN coalesce(g.ts_from, w.gap_from, w.ts_recv) END AS gap_from,
    CASE WHEN w.state = 'gap' AND (g.stop IS NULL OR f.known) THEN g.ts_to END AS gap_to,
    CASE WHEN w.state = 'known' THEN CASE w.kind WHEN 0 THEN 'snapshot' ELSE 'checkpoint' END END AS basis,
    CASE WHEN w.state = 'known' THEN w.ts_recv END AS basis_at,
    w.conn,
    CASE WHEN w.state = 'known' THEN c.seq ELSE w.seq END AS seq,
    CASE WHEN w.state = 'known' THEN c.deltas END AS deltas,
    CASE WHEN w.state = 'known' THEN coalesce(c.last, p.last, w.ts_recv) END AS last_change,
    CASE WHEN w.state = 'known' THEN b.levels END AS levels,
    CASE WHEN w.state = 'known' THEN sha256(b.lines)[:16] END AS digest
  FROM word AS w CROSS JOIN changes AS c CROSS JOIN book AS b CROSS JOIN before AS p CROSS JOIN gap AS g
    CROSS JOIN after AS f;
