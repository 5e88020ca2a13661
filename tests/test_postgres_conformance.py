"""The public rules of a lease store, on a real PostgreSQL server."""

from conductor_jobs.stores.postgres import PostgresLeaseStore
from conductor_jobs.testing import exercise_lease_store


async def test_the_postgres_store_keeps_every_rule(postgres_url: str) -> None:
    await exercise_lease_store(lambda: PostgresLeaseStore(postgres_url))
