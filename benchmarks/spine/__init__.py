"""The spine: what our programs cost a pod's connections, how fast a REST write becomes a verdict, what an agent takes."""
