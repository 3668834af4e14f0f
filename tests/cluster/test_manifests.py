"""What `serve deploy` and `kubectl apply` are given, checked without a cluster.

Serve's part is read by Serve's own schema, pods by the schemas of Kubernetes (kubernetes-validate).
RAY_SERVICE below is written after the CustomResourceDefinition of KubeRay 1.5, as far as the
manifest goes; the API server of a cluster checks against the whole of it.
"""

from pathlib import Path

import jsonschema
import pytest
import yaml

from avrec.serving.app import ServeArgs
from avrec.serving.embedder import EmbedderArgs

CLUSTER = Path(__file__).parents[2] / "cluster"
TEXT, FLAG, COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "object", "additionalProperties": TEXT}
POD = {"type": "object", "required": ["spec"]}


def fields(required=(), **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


RAY_SERVICE = fields(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayService"},
    metadata={"type": "object", "required": ["name"]},
    spec=fields(
        ["rayClusterConfig", "serveConfigV2"],
        serveConfigV2=TEXT,
        rayClusterDeletionDelaySeconds=COUNT,
        upgradeStrategy=fields(
            ["type"], type={"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade", "None"]}
        ),
        rayClusterConfig=fields(
            ["headGroupSpec"],
            rayVersion=TEXT,
            enableInTreeAutoscaling=FLAG,
            autoscalerOptions=fields(
                upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
                idleTimeoutSeconds=COUNT,
            ),
            authOptions=fields(mode={"enum": ["disabled", "token"]}),
            gcsFaultToleranceOptions=fields(
                redisAddress=TEXT,
                redisPassword=fields(
                    valueFrom=fields(secretKeyRef=fields(["key", "name"], key=TEXT, name=TEXT))
                ),
            ),
            headGroupSpec=fields(
                ["template", "rayStartParams"], rayStartParams=TEXTS, template=POD
            ),
            workerGroupSpecs={
                "type": "array",
                "items": fields(
                    ["groupName", "minReplicas", "maxReplicas", "template", "rayStartParams"],
                    groupName=TEXT,
                    replicas=COUNT,
                    minReplicas=COUNT,
                    maxReplicas=COUNT,
                    rayStartParams=TEXTS,
                    template=POD,
                ),
            },
        ),
    ),
)


@pytest.fixture(scope="module")
def manifest():
    return yaml.safe_load((CLUSTER / "rayservice.yaml").read_text())


@pytest.fixture(params=["serve.yaml", "rayservice.yaml"])
def served(request, manifest):
    if request.param == "rayservice.yaml":
        return yaml.safe_load(manifest["spec"]["serveConfigV2"])
    return yaml.safe_load((CLUSTER / request.param).read_text())


def groups(manifest):
    config = manifest["spec"]["rayClusterConfig"]
    return [config["headGroupSpec"], *config["workerGroupSpecs"]]


def test_the_manifest_has_the_fields_of_a_ray_service(manifest):
    jsonschema.validate(manifest, RAY_SERVICE)


def test_its_pods_are_pods(manifest):
    validate = pytest.importorskip("kubernetes_validate")
    for group in groups(manifest):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]}
        validate.validate(pod, "1.31", strict=True)


def test_no_pod_runs_as_root_or_holds_a_secret_in_clear(manifest):
    for group in groups(manifest):
        spec = group["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        for container in spec["containers"]:
            assert not container["securityContext"]["allowPrivilegeEscalation"]
            assert all("value" in one and "PASSWORD" not in one["name"] for one in container["env"])


def test_serve_takes_its_part_and_so_does_the_application(served):
    from ray.serve.schema import DeploymentSchema, ServeDeploySchema  # noqa: PLC0415

    ServeDeploySchema.model_validate(served)
    service, embedder = served["applications"]
    ServeArgs.model_validate(service["args"])
    EmbedderArgs.model_validate(embedder["args"])
    [deployment] = service["deployments"]
    assert deployment.keys() <= DeploymentSchema.model_fields.keys()
    assert deployment["name"] == "avrec"
    assert deployment["health_check_timeout_s"] > deployment["health_check_period_s"]
    assert served["http_options"]["request_timeout_s"] >= deployment["graceful_shutdown_timeout_s"]


def test_a_pod_outlives_the_requests_that_its_replicas_finish(manifest, served):
    waits = served["applications"][0]["deployments"][0]["graceful_shutdown_timeout_s"]
    for group in manifest["spec"]["rayClusterConfig"]["workerGroupSpecs"]:
        assert group["template"]["spec"]["terminationGracePeriodSeconds"] > waits
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
