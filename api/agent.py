"""The entry point of `causeway agent`: settings, keys and the real drivers, then the agent."""

import asyncio
from pathlib import Path

from nodeagent.agent import run_agent
from nodeagent.dataplane.ebpf.driver import EbpfDriver
from nodeagent.dataplane.ebpf.observe.flow_reader import FlowReader
from nodeagent.dataplane.ebpf.observe.job import Job
from nodeagent.dataplane.ebpf.observe.naming import NameKeeper
from nodeagent.dataplane.ebpf.observe.noted import NotedDriver
from nodeagent.dataplane.ebpf.sweep import Sweeper
from nodeagent.dataplane.linux.routes import RouteDriver
from nodeagent.reconcile import Drivers
from nodeagent.settings import load_settings
from nodeagent.tunnel_part import TunnelPart
from tunnels.driver.detect import DetectedTunnel
from tunnels.keys import load_or_make


def run(state_dir: Path) -> int:
    """Run until told to stop. Raises InvalidInput when the node has not joined."""
    settings = load_settings(state_dir)
    keys = load_or_make(state_dir / "wireguard.key")
    tunnels = TunnelPart(DetectedTunnel(settings.interface, keys, state_dir / "wireguard.log"))
    policy = EbpfDriver(settings.pins, state_dir)
    noted = NotedDriver(policy)
    keeper = NameKeeper(noted, state_dir, policy.generation)
    flows = FlowReader(noted, settings, policy.generation)
    sweeper = Sweeper(lambda: policy.generation / "connections")
    drivers = Drivers(
        policy=noted,
        tunnels=tunnels,
        routes=RouteDriver(settings.interface),
    )
    jobs = (Job("names", keeper.keep, 1.0), Job("flows", flows.drain, 1.0))
    watchers = [tunnels.watch, sweeper.watch, *(job.watch for job in jobs)]
    asyncio.run(run_agent(settings, drivers, keys.public, watchers))
    return 0
