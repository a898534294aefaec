"""Every test gets the cluster of its module, or makes one of its own."""

from collections.abc import Iterator

import pytest

from tests.e2e.harness import Cluster, running_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes; min.insync.replicas is 2."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as found:
        yield found
