"""Deployments and their like as pods, and documents that stand twice. One sentence each."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from federation.errors import InvalidInput
from federation.simulation.probes import Judge
from federation.simulation.reading import Simulation, read

TEMPLATE: dict[str, Any] = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {
        "serviceAccountName": "robot",
        "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}],
    },
}
ISOLATE = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: shop}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{port: http}]}]}
"""


def workload(kind: str, name: str = "web", **more: Any) -> dict[str, Any]:
    groups = {"ReplicationController": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}
    spec: dict[str, Any] = {"template": TEMPLATE}
    if kind == "CronJob":
        spec = {"schedule": "* * * * *", "jobTemplate": {"spec": spec}}
    metadata = {"name": name, "namespace": "shop", **more}
    return {"apiVersion": groups.get(kind, "apps/v1"), "kind": kind, "metadata": metadata, "spec": spec}


def pod(name: str, owner: str = "", of: str = "", address: str = "10.0.0.9") -> dict[str, Any]:
    references = [{"apiVersion": "apps/v1", "kind": owner, "name": of, "controller": True}] if owner else []
    metadata = {"name": name, "namespace": "shop", "labels": {"app": "web"}, "ownerReferences": references}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": {"podIP": address}}


def simulated(*documents: Any) -> Simulation:
    opened = [each for d in documents for each in (yaml.safe_load_all(d) if isinstance(d, str) else [d])]
    return read((f"document {n}", each) for n, each in enumerate(opened))


def stands(*documents: Any) -> list[str]:
    return Judge(simulated(*documents)).ends()


KINDS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob")


@pytest.mark.parametrize("kind", KINDS)
def test_a_workload_without_pods_is_an_end_of_its_name_with_its_templates_labels_and_ports(kind: str) -> None:
    judge = Judge(simulated(workload(kind), ISOLATE))
    assert judge.ends() == ["shop/web"]
    asked = [{"from": "8.8.8.8", "to": "shop/web", "port": port} for port in ("http", 8080, 81)]
    assert [judge.answer(probe)["verdict"] for probe in asked] == ["Allow", "Allow", "Deny"]


def test_it_has_its_templates_account_and_no_address() -> None:
    (endpoint,) = simulated(workload("Deployment")).world.endpoints.values()
    assert (endpoint.spec.service_account, endpoint.spec.addresses) == ("robot", ())
    block = ISOLATE.replace("ports: [{port: http}]", "from: [{ipBlock: {cidr: 0.0.0.0/0}}]")
    judge = Judge(simulated(workload("Deployment"), workload("Deployment", "other"), block))
    assert judge.answer({"from": "shop/other", "to": "shop/web", "port": 1})["verdict"] == "Deny"
    assert judge.answer({"from": "8.8.8.8", "to": "shop/web", "port": 1})["verdict"] == "Allow"


def test_one_on_its_hosts_network_is_a_host() -> None:
    spec = {"template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "hostNetwork": True}}}
    judge = Judge(simulated({**workload("DaemonSet"), "spec": spec}, ISOLATE))
    assert judge.ends() == []
    assert judge.answer({"from": "8.8.8.8", "to": "shop/web", "port": 81})["verdict"] == "Allow"


@pytest.mark.parametrize(
    ("kind", "owner", "of"),
    [
        ("Deployment", "ReplicaSet", "web-5d4f8c7b9"), ("StatefulSet", "StatefulSet", "web"), ("DaemonSet", "DaemonSet", "web"),
        ("ReplicaSet", "ReplicaSet", "web"), ("ReplicationController", "ReplicationController", "web"), ("Job", "Job", "web"),
        ("CronJob", "Job", "web-28391520"),
    ],
)  # fmt: skip
def test_pods_of_a_workload_stand_for_it(kind: str, owner: str, of: str) -> None:
    assert stands(workload(kind), pod("web-x", owner, of)) == ["shop/web-x"]


def test_a_pod_of_somebody_else_does_not_stand_for_it() -> None:
    assert stands(workload("Deployment"), pod("p", "ReplicaSet", "shop-web-5d4f")) == ["shop/p", "shop/web"]
    assert stands(workload("Deployment"), pod("p")) == ["shop/p", "shop/web"]


def test_a_replica_set_of_a_deployment_that_is_there_is_no_end_of_its_own() -> None:
    owned = [{"kind": "Deployment", "name": "web"}]
    replicas = workload("ReplicaSet", "web-5d4f", ownerReferences=owned)
    assert stands(workload("Deployment"), replicas) == ["shop/web"]
    assert stands(workload("Deployment"), replicas, pod("p", "ReplicaSet", "web-5d4f")) == ["shop/p"]
    assert stands(replicas) == ["shop/web-5d4f"]


def test_a_replica_set_of_nobody_whose_name_begins_like_a_deployments_is_not_its_own() -> None:
    alone = workload("ReplicaSet", "web-front")
    assert stands(workload("Deployment"), alone, pod("p", "ReplicaSet", "web-front")) == [
        "shop/p",
        "shop/web",
    ]


def test_a_name_that_two_kinds_have_is_the_first_kinds() -> None:
    assert stands(workload("Job"), workload("Deployment")) == ["shop/web", "shop/web.job"]
    assert stands(workload("Deployment"), pod("web")) == ["shop/web", "shop/web.deployment"]


def test_a_job_that_is_named_by_the_server_has_the_name_that_it_begins_with() -> None:
    job = workload("Job")
    job["metadata"] = {"generateName": "once-", "namespace": "shop"}
    assert stands(job) == ["shop/once"]


def test_a_template_is_of_its_workloads_cluster() -> None:
    (key,) = simulated(workload("Deployment", labels={"causeway.dev/cluster": "far"})).world.endpoints
    assert key.cluster == "far"


def test_a_fault_of_a_template_is_said_where_it_stands() -> None:
    spec = {"template": {"spec": {"containers": [{"ports": [{"containerPort": "http"}]}]}}}
    with pytest.raises(InvalidInput) as caught:
        simulated({**workload("Deployment"), "spec": spec})
    (fault,) = caught.value.faults
    assert fault.pointer == "document 0: /spec/template/spec/containers/0/ports/0/containerPort"


def test_services_select_workloads_by_their_templates_labels() -> None:
    service = "{apiVersion: v1, kind: Service, metadata: {name: s, namespace: shop}, spec: {selector: {app: web}, ports: [{port: 80}]}}"
    policy = "{apiVersion: cilium.io/v2, kind: CiliumNetworkPolicy, metadata: {name: p, namespace: shop}, spec: {endpointSelector: {}, egress: [{toServices: [{k8sService: {serviceName: s, namespace: shop}}]}]}}"
    judge = Judge(simulated(workload("Deployment"), pod("p"), service, policy))
    assert judge.answer({"from": "shop/p", "to": "shop/web", "port": 80})["verdict"] == "Allow"


Make = Callable[[], dict[str, Any]]


@pytest.mark.parametrize(
    "make", [lambda: workload("Deployment"), lambda: pod("p"), lambda: yaml.safe_load(ISOLATE)]
)
def test_a_document_that_stands_twice_counts_once(make: Make) -> None:
    assert len(simulated(make(), make()).world.policies) == len(simulated(make()).world.policies)
    newer = make()
    newer["metadata"] |= {"resourceVersion": "7", "uid": "u", "annotations": {"a": "b"}}
    newer["status"] = {**newer.get("status", {}), "conditions": [{"type": "Ready"}]}
    assert stands(make(), newer) == stands(make())


@pytest.mark.parametrize(
    "make", [lambda: workload("Deployment"), lambda: pod("p"), lambda: yaml.safe_load(ISOLATE)]
)
def test_two_documents_of_one_name_that_differ_are_a_fault_that_names_both(make: Make) -> None:
    other = make()
    other["metadata"]["labels"] = {"app": "other"}
    with pytest.raises(InvalidInput) as caught:
        simulated(make(), other)
    (fault,) = caught.value.faults
    assert fault.pointer == "document 1: /metadata/name"
    assert fault.message.endswith("stands twice and differs: see document 0")


def test_one_name_in_two_namespaces_or_clusters_is_two() -> None:
    there, far = workload("Deployment"), workload("Deployment", labels={"causeway.dev/cluster": "far"})
    there["metadata"] = {**there["metadata"], "namespace": "pay"}
    found = stands(workload("Deployment"), there, far)
    assert sorted(found) == ["default/shop/web", "far/shop/web", "pay/web"]


def test_lists_as_the_api_gives_them_do_not_repeat_what_their_items_are() -> None:
    items = [{k: v for k, v in pod("p").items() if k not in ("apiVersion", "kind")}]
    assert stands({"apiVersion": "v1", "kind": "PodList", "items": items}) == ["shop/p"]
