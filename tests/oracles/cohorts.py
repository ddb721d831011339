"""Recomputes the cohorts of a web shop from its invoice lines, and compares what Bidstream says of a lake into which
jobs/mappings/online_retail.yaml has imported them. Exits 1 where they differ.

    cohorts.py BIDSTREAM LAKE PARQUET

Invoices that begin with C are refunds. A customer is of the cohort of the month of its first line that is none and has a quantity
above 0, and active in the months of such lines; all its lines from that day on are its revenue. Lines without a customer are revenue
of the shop and of no cohort. Needs DuckDB (requirements.txt).
"""

import sys

import duckdb

from visitors import ask, compared

# A share of the users in millionths and revenue a user in whole micros, both cut off as integers are.
EXPECTED = """
WITH lines AS (
  SELECT CAST("Customer ID" AS BIGINT) AS customer, CAST(CAST(InvoiceDate AS TIMESTAMP) AS DATE) AS day,
    Invoice NOT LIKE 'C%' AND Quantity > 0 AS is_purchase,
    CAST(round(CAST(Price AS DECIMAL(18, 6)) * Quantity * 1000000) AS BIGINT) AS micros
  FROM read_parquet(?)
), followed AS (
  SELECT customer, first_day, day, is_purchase, micros, datediff('month', first_day, day) AS age,
    date_trunc('month', first_day) AS cohort
  FROM lines JOIN (SELECT customer, min(day) AS first_day FROM lines WHERE is_purchase GROUP BY customer) USING (customer)
  WHERE day >= first_day
), sizes AS (
  SELECT cohort, count(DISTINCT customer) AS users FROM followed GROUP BY cohort
), cells AS (
  SELECT cohort, age, count(DISTINCT customer) FILTER (WHERE is_purchase) AS active_users, sum(micros) AS revenue
  FROM followed GROUP BY cohort, age
), curves AS (
  SELECT *, sum(revenue) OVER (PARTITION BY cohort ORDER BY age) AS ltv FROM cells JOIN sizes USING (cohort)
)
SELECT strftime(cohort, '%Y-%m-%dT00:00:00.000Z'), age, users, active_users, active_users * 1000000 // users, revenue, ltv,
  CAST(trunc(ltv / users) AS BIGINT)
FROM curves
"""
FOUND = """
SELECT cohort_start, age, users, active_users, retention_ppm, revenue_micros, ltv_micros, ltv_per_user_micros
FROM retention
WHERE milestone = 'purchase' AND cohort_period = 'month' AND age_unit = 'month' AND grouping = 'tenant' AND currency = 'GBP'
"""


def main(bidstream, lake, file):
    connection = duckdb.connect()
    text = lambda rows: [tuple(map(str, row)) for row in rows]
    differ = compared("retention", ask(bidstream, lake, FOUND), text(connection.execute(EXPECTED, [file]).fetchall()))
    total = connection.execute("""
        SELECT sum(CAST(round(CAST(Price AS DECIMAL(18, 6)) * Quantity * 1000000) AS BIGINT)) FROM read_parquet(?)""", [file])
    found = ask(bidstream, lake, "SELECT sum(revenue_micros) FROM events")
    differ |= compared("revenue of the shop", found, text(total.fetchall()))
    sys.exit(differ)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
