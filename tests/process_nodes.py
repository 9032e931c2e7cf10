"""A cloud for Ray's autoscaler whose machines are processes on this machine."""

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

from ray.autoscaler.node_provider import NodeProvider
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_NODE_KIND, TAG_RAY_USER_NODE_TYPE

# The head's name for itself, as a cloud would name its machine.
HEAD_ID = "head"
HEAD_ENVIRONMENT = {
    "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
    "RAY_NODE_TYPE_NAME": "head",
    "RAY_enable_autoscaler_v2": "1",  # as under `ray up` and Kubernetes
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}

# Without any of these keys the autoscaler's process ends, and its head with it.
_NOTHING: dict[str, list[str]] = {
    "setup_commands": [],
    "head_setup_commands": [],
    "worker_setup_commands": [],
    "cluster_synced_files": [],
}


def autoscaling_config(gcs_address: str, node_types: dict[str, Any]) -> dict[str, Any]:
    """The config for `ray start --autoscaling-config`, with node types as in cluster.yaml.

    Idle nodes are removed soon.
    """
    max_workers = sum(node_type["max_workers"] for node_type in node_types.values())
    available = {name: {"node_config": {}, **node_type} for name, node_type in node_types.items()}

    return {
        **_NOTHING,
        "cluster_name": "processes",
        "max_workers": max_workers,
        # Long enough that no node is removed while a busy machine still starts its work.
        "idle_timeout_minutes": 0.3,
        "provider": {
            "type": "external",
            "module": f"{__name__}.{ProcessNodes.__name__}",
            "gcs_address": gcs_address,
            "disable_node_updaters": True,  # nothing is installed on them
        },
        "head_node_type": "head",
        "available_node_types": available,
    }


class ProcessNodes(NodeProvider):  # type: ignore[misc]
    """A cloud as the autoscaler needs it. Ends with the autoscaler's process; its nodes do not."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._tags: dict[str, dict[str, str]] = {
            HEAD_ID: {TAG_RAY_NODE_KIND: NODE_KIND_HEAD, TAG_RAY_USER_NODE_TYPE: "head"}
        }
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        pairs = ",".join(f"{key}={value}" for key, value in labels.items())
        command = [
            "start",
            "--block",
            "--disable-usage-stats",
            "--address",
            self.provider_config["gcs_address"],
        ]
        command += ["--num-cpus", f"{resources['CPU']:g}", "--labels", pairs]
        command += ["--dashboard-agent-listen-port", "0"]

        for _ in range(count):
            node = uuid.uuid4().hex
            names = {"RAY_CLOUD_INSTANCE_ID": node, "RAY_NODE_TYPE_NAME": tags[TAG_RAY_USER_NODE_TYPE]}
            self._tags[node] = tags
            self._nodes[node] = subprocess.Popen(
                [Path(sys.executable).with_name("ray"), *command], env={**os.environ, **names}
            )

    def terminate_node(self, node_id: str) -> None:
        self._nodes[node_id].terminate()

    def non_terminated_nodes(self, tag_filters: dict[str, str]) -> list[str]:
        return [
            node
            for node, tags in self._tags.items()
            if self.is_running(node) and tag_filters.items() <= tags.items()
        ]

    def is_running(self, node_id: str) -> bool:
        return node_id == HEAD_ID or self._nodes[node_id].poll() is None

    def is_terminated(self, node_id: str) -> bool:
        return not self.is_running(node_id)

    def node_tags(self, node_id: str) -> dict[str, str]:
        return self._tags[node_id]

    def set_node_tags(self, node_id: str, tags: dict[str, str]) -> None:
        self._tags[node_id].update(tags)

    def external_ip(self, node_id: str) -> str:
        return "127.0.0.1"

    def internal_ip(self, node_id: str) -> str:
        return "127.0.0.1"
