"""Faults on command, for tests of programs that must survive them. The programs need no hooks.

- `KillingProxy` between a gRPC client and Milvus or Triton: delays, resets, pauses, throttles, refuses, and kills a
  process at a counted request: before the request arrives, when it is done and unanswered, or when it is answered.
- `Child` runs a Python program that a test kills, by hand or through the proxy; `FileEvents` lets it die at a counted
  rename, removal or opening of a file.
- `seeded_points` chooses the points of a torture run.

    with KillingProxy(port) as proxy:                                       # 1. an undisturbed run counts
        with Child([...], environment={"MILVUS": proxy.uri}, log=log) as child:
            assert child.wait(60) == 0
        total = proxy.requests
    for point in seeded_points(total, POINTS, seed=1):                      # 2. one run for each point
        with KillingProxy(port) as proxy:
            with Child([...], environment={"MILVUS": proxy.uri}, log=log) as child:
                proxy.kill_after(requests=point, pid=child.pid)
                child.wait(60)
                assert child.killed
"""

from __future__ import annotations

from connector.testing.faults_child import Child, FileEvents, seeded_points
from connector.testing.faults_proxy import KillingProxy

__all__ = ["Child", "FileEvents", "KillingProxy", "seeded_points"]
