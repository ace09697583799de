import pytest
from unit.convergence.convergence_world import World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def make_world():
    return World
