-- Views over the views of files. Prices are whole numbers of 1/10,000 dollar, sizes of 1/100 contract; side 0 is YES.

CREATE OR REPLACE VIEW coverage AS
  SELECT * FROM coverage_versions WHERE superseded_at IS NULL;

CREATE OR REPLACE VIEW hours AS
  SELECT DISTINCT dt, hr, version, manifest, published_at, reason FROM coverage;

CREATE OR REPLACE VIEW deltas AS
  SELECT ticker, ts_recv, ts_exch, conn, seq, side, price_e4, qty_e2, dt, hr FROM orderbook WHERE kind = 1;

CREATE OR REPLACE VIEW snapshots AS
  SELECT ticker, ts_recv, ts_exch, conn, seq, side, price_e4, qty_e2, dt, hr FROM orderbook WHERE kind = 0;

CREATE OR REPLACE VIEW checkpoints AS
  SELECT ticker, ts_recv, ts_exch, conn, seq, side, price_e4, qty_e2, dt, hr FROM orderbook WHERE kind = 2;

CREATE OR REPLACE VIEW markets AS
  SELECT * FROM markets_versions
  QUALIFY row_number() OVER (PARTITION BY ticker ORDER BY valid_from DESC, record DESC) = 1;

CREATE OR REPLACE VIEW events AS
  SELECT * FROM events_versions
  QUALIFY row_number() OVER (PARTITION BY event_ticker ORDER BY valid_from DESC, record DESC) = 1;

CREATE OR REPLACE VIEW series AS
  SELECT * FROM series_versions
  QUALIFY row_number() OVER (PARTITION BY series_ticker ORDER BY valid_from DESC, record DESC) = 1;

-- Where a followed market's book is not known: one row a gap, silences of its conn among them; ts_to is null where no
-- published hour shows its end.
CREATE OR REPLACE VIEW gaps AS
  WITH pieces AS (
    SELECT ticker, state, conn, ts_from, ts_to, end_reason, dt, hr
    FROM coverage
    WHERE channel = 'orderbook' AND state IN ('known', 'gap') AND ticker <> '*' AND ts_from < ts_to
  ),
  missing AS (
    SELECT ticker, conn, end_reason AS reason, ts_from, ts_to FROM pieces WHERE state = 'gap'
    UNION ALL
    SELECT p.ticker, p.conn, 'stall', greatest(p.ts_from, s.ts_from), least(p.ts_to, s.ts_to)
    FROM pieces AS p JOIN coverage AS s ON s.dt = p.dt AND s.hr = p.hr AND s.conn = p.conn
    WHERE p.state = 'known' AND s.ticker = '*' AND s.state = 'silence' AND s.ts_from < p.ts_to AND p.ts_from < s.ts_to
  ),
  marked AS (  -- a piece that begins with its hour, behind one that ended with its hour, goes on with it
    SELECT *,
      epoch_us(ts_from) % 3600000000 <> 0 OR coalesce(epoch_us(lag(ts_to) OVER w) % 3600000000 <> 0, true) AS begins
    FROM missing WINDOW w AS (PARTITION BY ticker, reason, conn ORDER BY ts_from, ts_to)
  ),
  numbered AS (
    SELECT *, sum(begins::INTEGER) OVER w AS number FROM marked
    WINDOW w AS (PARTITION BY ticker, reason, conn ORDER BY ts_from, ts_to ROWS UNBOUNDED PRECEDING)
  ),
  whole AS (
    SELECT ticker, reason, conn, min(ts_from) AS ts_from, max(ts_to) AS ts_to FROM numbered
    GROUP BY ticker, reason, conn, number
  )
  SELECT
    w.ticker,
    w.ts_from,
    CASE WHEN epoch_us(w.ts_to) % 3600000000 <> 0 OR n.ticker IS NOT NULL THEN w.ts_to END AS ts_to,
    w.reason,
    w.conn
  FROM whole AS w
  LEFT JOIN (SELECT DISTINCT ticker, ts_from FROM pieces WHERE state = 'known') AS n
    ON n.ticker = w.ticker AND n.ts_from = w.ts_to;
