-- Metadata: what was known of a market at an instant, and what each market came to.

-- The version of a market that was known at an instant, inclusive; no row where none was. What was learned later is
-- never seen.
CREATE OR REPLACE MACRO market_at(tk, ts) AS TABLE
  SELECT * FROM markets_versions
  WHERE ticker = tk AND valid_from <= ts::TIMESTAMPTZ AND (dt < kb_day(ts) OR (dt = kb_day(ts) AND hr <= kb_hour(ts)))
  ORDER BY valid_from DESC, record DESC LIMIT 1;

-- What each market came to: what the venue said last, in its documents or in lifecycle messages. Where no message said
-- when it was determined, that is when a result was first known.
CREATE OR REPLACE VIEW settlements AS
  WITH told AS (
    SELECT ticker, event_ticker, valid_from AS learned, result, settlement_value_e4, determined_time, settled_time
    FROM markets_versions
    UNION ALL
    SELECT ticker, NULL, ts_recv, result, settlement_value_e4, determination_time, settled_time
    FROM lifecycle WHERE ticker IS NOT NULL AND (result <> '' OR settled_time IS NOT NULL)
  )
  SELECT
    ticker AS market_ticker,
    arg_max(event_ticker, learned) AS event_ticker,
    arg_max(result, learned) FILTER (WHERE result <> '') AS result,
    arg_max(settlement_value_e4, learned) AS settlement_value_e4,
    (arg_max(settlement_value_e4, learned) * 0.0001)::DECIMAL(6, 4) AS settlement_value,
    coalesce(arg_max(determined_time, learned), min(learned) FILTER (WHERE result <> '')) AS determined_at,
    arg_max(settled_time, learned) AS settled_at
  FROM told
  GROUP BY ticker
  HAVING count(*) FILTER (WHERE result <> '') > 0;
