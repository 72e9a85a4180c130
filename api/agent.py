"""The entry point of `causeway agent`: settings, keys and the real drivers, then the agent."""

import asyncio
from pathlib import Path

from api import frugal
from nodeagent import lock
from nodeagent.agent import run_agent
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.observe.flow_reader import FlowReader
from nodeagent.dataplane.ebpf.observe.job import Job
from nodeagent.dataplane.ebpf.observe.naming import NameKeeper
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver
from nodeagent.dataplane.ebpf.observe.totals import RuleTotals
from nodeagent.dataplane.ebpf.sweep import Sweeper
from nodeagent.dataplane.linux.routes import RouteDriver
from nodeagent.pace import SystemClock
from nodeagent.reconcile import Drivers
from nodeagent.settings import load_settings
from nodeagent.tunnel_part import TunnelPart
from tunnels.driver.detect import DetectedTunnel
from tunnels.keys import load_or_make


def run(state_dir: Path, metrics: str = "") -> int:
    """Run until told to stop. Raises InvalidInput when the node has not joined, or the place of metrics is taken; Conflict when its agent
    runs already."""
    settings = load_settings(state_dir, metrics=metrics)
    with lock.alone(state_dir, settings.pins, SystemClock().now()):
        keys = load_or_make(state_dir / "wireguard.key")
        tunnels = TunnelPart(DetectedTunnel(settings.interface, keys, state_dir / "wireguard.log"))
        is_direct = settings.local_traffic == "direct"
        policy = EbpfDriver(settings.pins, state_dir, is_direct=is_direct, xdp=settings.xdp)
        noted = NotedDriver(policy)
        keeper = NameKeeper(noted, state_dir, policy.generation)
        flows = FlowReader(noted, settings, policy.generation)
        totals = RuleTotals(noted, state_dir, policy.generation)
        noted.before_first = totals.adopt
        sweeper = Sweeper(lambda: policy.generation / "connections")
        jobs = (
            Job("names", keeper.keep, 1.0),
            Job("flows", flows.drain, 1.0),
            Job("rule counts", totals.read, 1.0),
            Job("memory", frugal.trim, 1.0),
        )
        watchers = [tunnels.watch, sweeper.watch, *(job.watch for job in jobs)]
        drivers = Drivers(policy=noted, tunnels=tunnels, routes=RouteDriver(settings.interface))
        if settings.metrics:
            from nodeagent.dataplane.ebpf.observe.metrics import AgentMetrics, serve  # brings an HTTP server

            serve(AgentMetrics(policy.generation, state_dir, (noted, totals, flows)), settings.metrics)
        asyncio.run(run_agent(settings, drivers, keys.public, watchers, totals))
    return 0
