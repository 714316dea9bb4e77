"""Behaviour of a Feast online store, from Feast's documented contract, for any store:

    class TestMyStore(OnlineStoreSuite):
        gaps = {"test_words": "notimpl: the server has no keyword search"}

        @pytest.fixture(scope="class")
        @classmethod
        def config(cls, tmp_path_factory):
            yield RepoConfig(project="suite", provider="local", registry=..., online_store=..., ...)

`DocumentTests` can be left out by naming the other parts as bases. `gaps` lists the tests that must fail, with reasons.
Beyond Feast's contract, the suite asks for newest-event-wins, time to live on reads and searches, SQL's null logic in
filters, and keys that stand beside their own rows in Feast's own search call.
"""

from __future__ import annotations

from connector.testing.online_documents import DocumentTests
from connector.testing.online_lifecycle import LifecycleTests
from connector.testing.online_reads import ReadTests
from connector.testing.online_values import ValueTests
from connector.testing.online_writes import WriteTests


class OnlineStoreSuite(ValueTests, ReadTests, WriteTests, LifecycleTests, DocumentTests):
    """Tests of the whole contract; a subclass gives the `config` fixture, of class scope."""
