"""What the experiments with a cluster share: they start one, with orders enough to be judged by."""

from __future__ import annotations

import argparse
from typing import Final

from msgspec.structs import replace

from chaos.lab.cluster_target import TargetCluster, start_cluster
from chaos.lab.experiment import Experiment
from chaos.lab.target import load_target_settings
from lib.settings import Settings

NEWS_INTERVAL_S: Final = 0.1
"""More news than by default, and so more orders, of which some are under way at each fault."""


class ClusterExperiment(Experiment):
    """An experiment with a cluster of its own.

    Attributes:
        cluster: is there once it was started, before the first round.

    """

    needs_private = True
    cluster: TargetCluster

    def private_settings(self, settings: Settings) -> Settings:
        """Have more orders than by default."""
        return replace(settings, gateway=replace(settings.gateway, news_interval=NEWS_INTERVAL_S))

    def find_target(self, arguments: argparse.Namespace) -> TargetCluster:
        """Start a cluster. Raises TargetError."""
        settings = load_target_settings(arguments.config, arguments.var_dir)
        self.cluster = start_cluster(self.private_settings(settings), settings.var_dir / "chaos")
        return self.cluster
