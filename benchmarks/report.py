"""Makes docs/performance.md from benchmarks/results/*.json. Run by `./dev docs`."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import RESULTS, TITLES, Row, cells

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
HEAD = """# Performance

Made by `./dev docs` from the files that `./dev bench AREA` writes. Machines are noisy: read the ratios, each from one run of
contenders in turns. A ratio is ours over the first peer; an aim is about the ratio, or about our figure where there is no peer.
Growth is our figure (of a rate: the time of one) over that of the smallest size, "of" how many times as large the size is: the first number at most the second
is linear or better.
"""
REMARKS = {
    "policy": """Instructions of one build (callgrind, the build's share alone), which no noise changes: the fleet 1,042 million at 1x, 5,937 million
at 8x, 5.7 times as many; the world of which all is local 263 million at 1x, 2,180 million at 8x, 8.3 times as many: this one grows a
little faster than its world. What the time of a build grows beyond its instructions is caches and memory; counters that would tell
the two apart do not exist on the machine.
""",
    "datapath": """A size counts peers: addresses that the node's selectors hold, each in one of up to 500. The node's other endpoints (up to 100) hold a
tenth as many rules, TCP from a selector to a port; the measured endpoint has ten, of which the last lets the client in, and its own list
grows only where a row says so. For iptables a selector is an ipset and a rule two lines in the chain of the endpoint's policy, behind
Calico's marks and dispatch and conntrack's word (Debian's iptables, on nf_tables); for nftables a set and one line in the chain that a
verdict map leads to; for ours a bit in the rows of identities (ten peers each) and one entry of a list. No policy has no conntrack either.
Before anything is measured real packets have to be judged alike by all, and as the policy says. Clients stay on one core and servers on
the other; request and answer share one.

Updates count from the finished words (a `DesiredPolicy`, the input of a tool) to the return; a tool's start is in its figure, as it is where
Calico's agent runs it. "At random" is a median of single test runs over different peers: the caches are cold, and the programs of the
look-ups alone pay for that one by one, so that their sum may exceed the whole.

Denied packets: frames that come as a network card's driver hands them over, each from another of so many prefixes (/28), to an interface whose doNotTrack policy denies them. All deny the same behind the
same failsafe ports; ours also knows who sends, counts by rule, and tells flows. One core sends and denies; "XDP_DROP alone" is the sender and a program of one instruction. nftables' set is of intervals.

The agent is a real process beside a control plane that says one world: what it takes of memory for its world is some 1.6 KiB an identity, policies and all (documents are kept as the bytes
that they came as, and of an identity nothing else but what the compiler keeps of it). 44 MiB are what Python and the libraries take before anything is known:
13 Python itself, 8 asyncio and TLS, the rest the HTTP client, netlink, and our own modules. Memory is read at rest; its highest, beside it, is that of the start.

On another machine (2026-11-29, AMD EPYC, 2 cores, three to four times as slow, other work beside it, so that no figure of it is in the table): connections 0.86 to 1.02 of no policy; of the rows of packets, ours was ahead of
both peers in each, by 1.01 at least in connections, 1.17 in datagrams, 1.13 (p50) and 1.005 (p99) in request and answer, 1.03 in one stream: the least of these are within the noise. Updates were behind them as above.
Since then the walk of a list ends in a tail call, so that the verifier sees a fifth of it. One run of each, one after the other on that machine: a first packet that walks 1 to 1,000 rules costs 5 to 16 % more warm (997 ns
for 881 at 1,000); at random between 20 % less and 6 % more, which is noise; established 122 ns for 132, cached the same.
""",
    "fanout": """Ten clusters in a chain of links, 200 endpoints each, 100 policies; agents are spread over the clusters. Each agent is a connection of its own with TLS and a packed
stream of its own, unpacked as it comes; all of them are one process, which shares the two cores with the server: what it takes is in every latency and in the cold start. They have bearer
credentials; a client's certificate takes some KiB more. A change is a policy that all clusters see, from the write's request to the receipt, with 1.5 s between two. Memory is the server's (PSS)
after less before all came, over the agents, half a minute after the last one did, when what only their arrival took has been given back; at their arrival it is more (of 1,000 agents 70 KiB for 46). Two replicas have half of the
agents each; figures of servers are sums. Put together from three runs of one hour: the first measured 500 to 5,000 agents and broke at 8,000, whose nodes took too long to join; 8,000 and the two replicas came after it. 500 was
measured again at the end, and its first figures were dropped: they had 5.5 % of a core while nothing changed and 13 ms of processor for a change, where 1,000 agents had 2.4 % and 110 ms.
""",
    "rest": """One replica, plain HTTP on loopback, eight clients in one process that share the two cores with it. SQLite syncs every transaction (`synchronous=FULL`); PostgreSQL runs
without fsync, as tests have it. The first 5,000 endpoints are written by bulks of requests, others like them right into the tables.
What of a read's time is the clients' was not taken apart; one endpoint costs the same at every size and on both databases. A selector looks at every endpoint that stands. Sizes were named by hand: 25,000 was left out for time.
""",
}
"""What is said under an area's table."""
START = "\n## "
"""How a section begins."""


def main() -> None:
    """Write the page."""
    results = (json.loads(path.read_text()) for path in RESULTS.glob("*.json"))
    PAGE.write_text(page(results, PAGE.read_text() if PAGE.exists() else ""))


def page(results: Iterable[Mapping[str, Any]], before: str = "") -> str:
    """The page for such files' contents. An area that has none here keeps the section that the page had before."""
    _, *known = before.split(START)
    sections = {text.partition("\n")[0]: text for text in known} | {
        body["area"]: _section(body) for body in results
    }
    return HEAD + "".join(START + sections[area].rstrip("\n") + "\n" for area in sorted(sections))


def _section(body: Mapping[str, Any]) -> str:
    lines = [
        f"{body['area']}\n",
        f"{body['date']}, {body['machine']}\n",
        _line(TITLES),
        _line("---" for _ in TITLES),
        *(_line(cells(Row(**row))) for row in body["rows"]),
    ]
    remark = REMARKS.get(body["area"])
    return "\n".join(lines + (["", remark] if remark else []))


def _line(words: Iterable[str]) -> str:
    return f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |"


if __name__ == "__main__":
    main()
