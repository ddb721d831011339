-- Which channels earn the conversions, by how we count? (conversions, by model)
SELECT channel,
       round(sum(CASE WHEN model = 'first' THEN credit_ppm END) / 1e6, 1) AS first,
       round(sum(CASE WHEN model = 'last' THEN credit_ppm END) / 1e6, 1) AS last,
       round(sum(CASE WHEN model = 'last_non_direct' THEN credit_ppm END) / 1e6, 1) AS last_non_direct,
       round(sum(CASE WHEN model = 'linear' THEN credit_ppm END) / 1e6, 1) AS linear,
       round(sum(CASE WHEN model = 'time_decay' THEN credit_ppm END) / 1e6, 1) AS time_decay,
       round(sum(CASE WHEN model = 'position' THEN credit_ppm END) / 1e6, 1) AS position
FROM credits GROUP BY channel ORDER BY last DESC;
-- What does each campaign return on its cost? (last touch, amounts in units of the currency)
SELECT c.campaign, c.currency, round(c.cost_micros / 1e6, 2) AS cost,
       round(coalesce(r.revenue_micros, 0) / 1e6, 2) AS revenue,
       round(coalesce(r.revenue_micros, 0) * 1.0 / c.cost_micros, 2) AS roas
FROM (SELECT campaign, currency, sum(cost_micros) AS cost_micros FROM costs GROUP BY campaign, currency) c
LEFT JOIN (SELECT campaign, currency, sum(revenue_micros) AS revenue_micros
           FROM credits WHERE model = 'last' GROUP BY campaign, currency) r
  ON r.campaign = c.campaign AND r.currency = c.currency
WHERE c.cost_micros > 0
ORDER BY roas DESC LIMIT 10;
-- How are installs matched, and how long after the touch do they come?
SELECT method, count(*) AS installs, sum(CASE WHEN reinstall THEN 1 ELSE 0 END) AS reinstalls,
       round(avg(candidates), 2) AS candidates, round(median(ctit_ms) / 60000.0, 1) AS median_ctit_minutes
FROM installs GROUP BY method ORDER BY installs DESC;
-- Which source is a bot? (one device with most of the clicks, and no install)
WITH clicks AS (
  SELECT source, device_id, count(*) AS clicks FROM events
  WHERE type = 'click' AND source IS NOT NULL AND device_id IS NOT NULL GROUP BY source, device_id
)
SELECT c.source, sum(c.clicks) AS clicks, count(*) AS devices, max(c.clicks) AS clicks_of_busiest_device,
       coalesce(max(i.installs), 0) AS installs,
       CASE WHEN 2 * max(c.clicks) > sum(c.clicks) AND max(i.installs) IS NULL
            THEN 'a bot: device ' || max(CASE WHEN c.clicks = m.clicks THEN encode(c.device_id, 'hex') END) END AS verdict
FROM clicks c
JOIN (SELECT source, max(clicks) AS clicks FROM clicks GROUP BY source) m ON m.source = c.source
LEFT JOIN (SELECT source, count(*) AS installs FROM installs GROUP BY source) i ON i.source = c.source
GROUP BY c.source ORDER BY clicks_of_busiest_device DESC LIMIT 5;
-- What came in, and what did lateness, copies and withdrawals change?
SELECT verdict, count(*) AS records,
       (SELECT count(*) FROM events) AS events,
       (SELECT count(*) FROM credits_changes WHERE _diff < 0) AS credit_rows_corrected
FROM records GROUP BY verdict ORDER BY records DESC;
