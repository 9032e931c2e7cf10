"""The cluster files are valid, and their nodes can hold what the shipped configs ask for."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _HEAD_GROUP_NAME,
    _generate_available_node_types_from_ray_cr_spec,
)
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.serve.schema import ServeDeploySchema

from jobs.comparison.config import parse_comparison
from jobs.config import Demand, JobConfig
from jobs.conversational_search.config import parse_search
from jobs.distillation.config import parse
from jobs.synthesis.config import parse_synthesis
from serve.config import ServeConfig

CLUSTER, CLOUD = Path("cluster.yaml"), Path("configs/cloud.yaml")
JOB_CONFIGS = [
    path for path in sorted(Path("configs").glob("*.yaml")) if "teachers" in yaml.safe_load(path.read_text())
]


@dataclass(frozen=True)
class NodeType:
    """Nodes of one kind, as many as there may be."""

    resources: dict[str, float]
    labels: dict[str, str]
    most: int

    def room_for(self, demand: Demand) -> int:
        """How many of the demand's processes all these nodes hold together."""
        if not demand.node_labels.items() <= self.labels.items():
            return 0
        amounts = {resource: amount for resource, amount in demand.each.items() if amount}
        return self.most * min(
            int(self.resources.get(resource, 0) // amount) for resource, amount in amounts.items()
        )


def of_cluster_launcher(file: Path) -> list[NodeType]:
    config = yaml.safe_load(file.read_text())
    head = config["head_node_type"]
    return [
        NodeType(kind["resources"], kind["labels"], 1 if name == head else kind["max_workers"])
        for name, kind in config["available_node_types"].items()
    ]


def of_kuberay(cluster: dict[str, Any]) -> list[NodeType]:
    """As Ray's autoscaler reads them, which passes over what KubeRay would not pass on."""
    types: list[NodeType] = []
    for name, kind in _generate_available_node_types_from_ray_cr_spec(cluster).items():
        most = 1 if name == _HEAD_GROUP_NAME else kind["max_workers"]
        types.append(NodeType(kind["resources"], kind["labels"], most))
    return types


def job_config(file: Path) -> JobConfig:
    arguments = ["--config", str(file)]
    settings = yaml.safe_load(file.read_text())
    if "documents" in settings:
        return (parse_search if "questions" in settings else parse_synthesis)(arguments)[0]
    return (parse_comparison if "compare" in settings else parse)(arguments)[0]


def test_the_cluster_launchers_file_is_valid_for_ray() -> None:
    # What `ray up` does with it before it asks AWS for anything.
    config = prepare_config(yaml.safe_load(CLUSTER.read_text()))
    validate_config(config)
    types = config["available_node_types"]
    assert types["teacher"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["trainer"]["node_config"]
    assert {name for name, kind in types.items() if kind["min_workers"]} == set()
    assert sum(kind["max_workers"] for kind in types.values()) <= config["max_workers"]


def test_only_the_head_may_start_machines() -> None:
    types = yaml.safe_load(CLUSTER.read_text())["available_node_types"]
    profiles = {name: kind["node_config"]["IamInstanceProfile"]["Name"] for name, kind in types.items()}
    assert profiles.pop("head") == "rejoinder-head"
    assert set(profiles.values()) == {"rejoinder-worker"}

    allowed = {}
    for name in ("bucket", "autoscaler"):
        statements = json.loads(Path(f"configs/aws/{name}.json").read_text())["Statement"]
        assert all(statement["Effect"] == "Allow" for statement in statements)
        allowed[name] = json.dumps([statement["Action"] for statement in statements])
    [passing] = [
        statement
        for statement in json.loads(Path("configs/aws/autoscaler.json").read_text())["Statement"]
        if "PassRole" in json.dumps(statement["Action"])
    ]
    assert passing["Resource"] == "arn:aws:iam::*:role/rejoinder-worker", "another role could allow more"
    assert "s3:PutObject" in allowed["bucket"] and "ec2" not in allowed["bucket"]
    assert "ec2:RunInstances" in allowed["autoscaler"] and '"ec2:*"' not in allowed["autoscaler"]
    assert "FullAccess" not in Path("docs/cluster.md").read_text()


def test_a_machines_role_is_read_by_requests_with_a_token_only() -> None:
    # Else whoever has a server fetch http://169.254.169.254 gets the role's keys.
    types = yaml.safe_load(CLUSTER.read_text())["available_node_types"]
    assert {kind["node_config"]["MetadataOptions"]["HttpTokens"] for kind in types.values()} == {"required"}


def test_a_wrong_key_of_the_cluster_launchers_file_would_be_found() -> None:
    config = yaml.safe_load(CLUSTER.read_text())
    config["available_node_types"]["teacher"]["min_wokers"] = 1
    with pytest.raises(Exception, match="min_wokers"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("file", JOB_CONFIGS, ids=str)
def test_the_declared_nodes_hold_what_a_config_asks_for(file: Path) -> None:
    types = of_cluster_launcher(CLUSTER)
    for demand in job_config(file).demands():
        assert sum(kind.room_for(demand) for kind in types) >= demand.count, demand


def test_what_no_declared_node_holds_is_noticed() -> None:
    types = of_cluster_launcher(CLUSTER)
    for demand in (
        Demand("two GPUs in one node", 1, {"CPU": 1, "GPU": 2}, {}),
        Demand("spot nodes for the server", 1, {"CPU": 1}, {"ray.io/market-type": "spot", "role": "server"}),
        Demand("more trainers than there may be", 3, {"CPU": 1, "GPU": 1}, {"role": "trainer"}),
    ):
        assert sum(kind.room_for(demand) for kind in types) < demand.count, demand


def test_every_replica_of_the_cloud_config_finds_a_node() -> None:
    """The most replicas, too, and training while no teacher's node is there."""
    types = of_cluster_launcher(CLUSTER)
    config = job_config(CLOUD)
    for teacher in config.teachers.values():
        most = teacher.at_most()
        each = {"CPU": float(teacher.num_cpus), "GPU": teacher.num_gpus}
        demand = Demand("all replicas", most, each, {**teacher.node_labels, "role": "teacher"})
        assert sum(kind.room_for(demand) for kind in types) >= most
    [training] = [demand for demand in config.demands() if demand.key == "student.num_workers"]
    assert [kind.labels["role"] for kind in types if kind.room_for(training)] == ["trainer"]


def test_the_job_on_kubernetes_is_one_that_the_command_line_takes() -> None:
    manifest = yaml.safe_load(Path("configs/kubernetes/distill.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    python, program, *arguments = shlex.split(manifest["spec"]["entrypoint"])
    assert (python, program) == ("python", "jobs/distill.py")
    config, options = parse(arguments)
    assert options.run.startswith("s3://")
    cluster = manifest["spec"]["rayClusterSpec"]
    check_cluster(cluster)
    types = of_kuberay(cluster)
    for demand in config.demands():
        assert sum(kind.room_for(demand) for kind in types) >= demand.count, demand


def test_the_service_on_kubernetes_deploys_a_valid_application() -> None:
    manifest, budget = yaml.safe_load_all(Path("configs/kubernetes/respond.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayService")
    [application] = ServeDeploySchema.model_validate(
        yaml.safe_load(manifest["spec"]["serveConfigV2"])
    ).applications
    ServeConfig.model_validate(application.args)
    [replica] = application.deployments
    cluster = manifest["spec"]["rayClusterConfig"]
    check_cluster(cluster)
    options = replica.ray_actor_options
    demand = Demand("replicas", replica.num_replicas, {"CPU": options.num_cpus}, options.label_selector)
    assert sum(kind.room_for(demand) for kind in of_kuberay(cluster)) >= replica.num_replicas

    assert (budget["apiVersion"], budget["kind"]) == ("policy/v1", "PodDisruptionBudget")
    [servers] = cluster["workerGroupSpecs"]
    assert budget["spec"]["selector"]["matchLabels"] == servers["template"]["metadata"]["labels"]
    assert budget["spec"]["minAvailable"] < servers["minReplicas"], "else no node could be drained"
    [container] = servers["template"]["spec"]["containers"]
    probe = container["readinessProbe"]["httpGet"]
    assert (probe["path"], probe["port"]) == ("/ready", ServeConfig.model_validate(application.args).port)
    assert cluster["authOptions"] == {"mode": "token"} and cluster["gcsFaultToleranceOptions"]["redisAddress"]


def test_a_clusters_responder_answers_other_machines_from_nodes_that_there_are() -> None:
    settings = yaml.safe_load(Path("configs/serve_cluster.yaml").read_text())
    schema = ServeDeploySchema.model_validate(settings)
    assert schema.http_options.host == "0.0.0.0"
    [application] = schema.applications
    ServeConfig.model_validate(application.args)

    [replica] = application.deployments
    options = replica.ray_actor_options
    demand = Demand("replicas", replica.num_replicas, {"CPU": options.num_cpus}, options.label_selector)
    assert sum(kind.room_for(demand) for kind in of_cluster_launcher(CLUSTER)) >= replica.num_replicas


def check_cluster(cluster: dict[str, Any]) -> None:
    """By structure, for KubeRay's schemas are seldom at hand. Keys are those of RayClusterSpec, 1.5."""
    assert set(cluster) <= {
        "rayVersion",
        "enableInTreeAutoscaling",
        "autoscalerOptions",
        "authOptions",
        "gcsFaultToleranceOptions",
        "headGroupSpec",
        "workerGroupSpecs",
    }
    pinned = next(line for line in Path("pyproject.toml").read_text().splitlines() if '"ray[' in line)
    assert pinned.strip() == f'"ray[default,data,train,serve]=={cluster["rayVersion"]}",'
    assert set(cluster["headGroupSpec"]) <= {"labels", "rayStartParams", "template"}
    for group in cluster["workerGroupSpecs"]:
        assert set(group) == {
            "groupName",
            "labels",
            "replicas",
            "minReplicas",
            "maxReplicas",
            "rayStartParams",
            "template",
        }
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        # KubeRay refuses the whole cluster for them, and Ray's autoscaler does not see them.
        assert "labels" not in group["rayStartParams"]
        [container] = group["template"]["spec"]["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
