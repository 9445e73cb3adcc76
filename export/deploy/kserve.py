"""Writes an InferenceService of KServe, which runs the image of `vegrt deploy docker`.

KServe calls the predictor by the Open Inference Protocol, which `vegrt serve` speaks. Names of fields are those of KServe's
CustomResourceDefinition, against which the tests check the file.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.errors import VegrtError
from vegrt.export.deploy.docker.dockerfile import PORT, USER
from vegrt.export.deploy.docker.write import image_name, image_tag
from vegrt.export.deploy.folder import Deployed, deploying, write_files, written
from vegrt.infer.serve.protocol import model_name
from vegrt.infer.serve.settings import ServerSettings
from vegrt.version import __version__

FILE = "inferenceservice.yaml"
_NAME_LENGTH = 40  # KServe appends up to 23 characters, and a DNS label has 63
_MIB = 2**20
# docs/serving.md, "Limits": a photo that is decoded takes up to 14 bytes per pixel, one per core at a time, two at least
_DECODE_BYTES_PER_PIXEL = 14
_PROCESS_MIB = 256  # Python, the packages, the queue
_MODEL_COPIES = 3  # the file while it is read, the weights, the activations of a batch

_SERVICE = """\
# vegrt {version}: serves a bundle with manifest SHA-256 {sha256}
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {name}
  labels:
    app.kubernetes.io/name: {name}
    app.kubernetes.io/managed-by: vegrt
  annotations:
    serving.kserve.io/deploymentMode: RawDeployment
    vegrt/bundle-sha256: "{sha256}"
spec:
  predictor:
    minReplicas: 1
    timeout: {timeout_s}
    terminationGracePeriodSeconds: {grace_s}  # accepted requests are answered after SIGTERM
    automountServiceAccountToken: false
    containers:
      - name: kserve-container
        image: {image}
        args: ["--client-share", "1"]  # all requests come from a few proxies
        env:
          - name: PROTOCOL  # the Open Inference Protocol, for KServe's router
            value: v2
        ports:
          - name: http1
            containerPort: {port}
            protocol: TCP
        resources:
          requests:
            cpu: "{cpus}"
            memory: {memory_mib}Mi
          limits:
            cpu: "{cpus}"
            memory: {memory_mib}Mi{gpu}
        startupProbe:  # every SHA-256 of the bundle is compared first
          httpGet:
            path: /v2/health/live
            port: {port}
          periodSeconds: 2
          failureThreshold: 90
        readinessProbe:
          httpGet:
            path: /v2/health/ready
            port: {port}
          periodSeconds: 5
          timeoutSeconds: 5
          failureThreshold: 3
        livenessProbe:
          httpGet:
            path: /v2/health/live
            port: {port}
          periodSeconds: 10
          timeoutSeconds: 5
          failureThreshold: 6
        securityContext:
          runAsNonRoot: true
          runAsUser: {user}
          runAsGroup: {user}
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop: ["ALL"]
          seccompProfile:
            type: RuntimeDefault
        volumeMounts:
          - name: tmp
            mountPath: /tmp
    volumes:
      - name: tmp
        emptyDir:
          sizeLimit: 256Mi
"""

_README = """\
# {name} on KServe

Written by vegrt {version} from the bundle with manifest SHA-256
{sha256}.
**This has not been run on a cluster by us.** The file was checked against the fields of KServe's CustomResourceDefinition.

1. Make the image, push it to a registry of yours, and name it here with `--image`; `vegrt deploy docker` writes its folder:

       vegrt deploy docker BUNDLE image{gpu_option}
       docker build --tag {image} image && docker push {image}

2. Create the service, and wait until it is ready:

       kubectl apply -f {file}
       kubectl wait --for=condition=Ready inferenceservice/{name} --timeout=300s

3. Send tensors, UINT8 [N, {height}, {width}, 3], by the Open Inference Protocol; the model is called `{model}`:

       curl -H "Host: HOST" http://INGRESS/v2/models/{model}
       curl -H "Host: HOST" -H "Content-Type: application/json" -d @request.json http://INGRESS/v2/models/{model}/infer

   A photo can be sent too, to `/v1/predict`.

- Memory: {memory_mib} MiB. Computed: {process_mib} MiB for the process, {decode_mib} MiB for {decoders} photos of 34 million
  pixels that are decoded at the same time, {bodies_mib} MiB for request bodies, {model_mib} MiB for the largest model of the
  bundle, three times. `--memory-mib` changes it. With `"--max-pixels", "12000000"` among the `args` of the container
  the decoding takes a third.
- Limits equal requests, because the service uses as many threads as its CPU limit allows.
- There is no autoscaling: add `maxReplicas` and `scaleTarget` to the predictor.
- `RawDeployment` needs no Knative. For Knative remove this annotation, and `terminationGracePeriodSeconds` and
  `startupProbe`, which it does not take everywhere.
"""
_GPU = '\n            nvidia.com/gpu: "1"'


@dataclass(frozen=True, slots=True)
class KserveSettings:
    """The settings of the service. image: with registry and tag; empty for that of `vegrt deploy docker`. cpus: cores.

    memory_mib: 0 to compute it from cpus and the largest model. gpu: request one NVIDIA GPU. overwrite: replace such a folder.
    """

    image: str = ""
    cpus: int = 2
    memory_mib: int = 0
    gpu: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class _Memory:
    """What the service needs at most, in MiB, by part. decoders: photos that are decoded at the same time."""

    decoders: int
    decode: int
    bodies: int
    model: int

    @property
    def total(self) -> int:
        parts = _PROCESS_MIB + self.decode + self.bodies + _MODEL_COPIES * self.model
        return 128 * math.ceil(parts / 128)


def deploy_kserve(bundle: Bundle, out: Path, settings: KserveSettings) -> Deployed:
    """Write the folder to `out`, atomically.

    Raises VegrtError for an image whose name YAML or Kubernetes would not take, and for an `out` that may not be replaced.
    """
    image = settings.image or image_tag(bundle)
    if not image.isascii() or not image.isprintable() or any(character in " \"'#" for character in image):
        raise VegrtError(f"--image {image!r}: not the name of an image; expected one such as registry/name:tag")
    needed = _memory(bundle, settings.cpus)
    words = {
        "version": __version__,
        "sha256": bundle.sha256(),
        "name": service_name(bundle.manifest.name),
        "image": json.dumps(image),
        "port": PORT,
        "user": USER,
        "cpus": settings.cpus,
        "memory_mib": settings.memory_mib or needed.total,
        "gpu": _GPU if settings.gpu else "",
        "timeout_s": int(ServerSettings().answer_timeout_s),
        "grace_s": int(ServerSettings().answer_timeout_s) + 15,
    }
    with deploying(bundle, out, "kserve", overwrite=settings.overwrite) as folder:
        readme = _readme(bundle, image, needed, words, gpu=settings.gpu)
        write_files(folder, {FILE: _SERVICE.format(**words), "README.md": readme})
    return written(out, f"kubectl apply -f {out / FILE}")


def service_name(name: str) -> str:
    """Return a bundle's name as that of a Kubernetes service: it begins with a letter and has at most 40 characters."""
    label = image_name(name)
    return (label if label[0].isalpha() else f"model-{label}")[:_NAME_LENGTH].rstrip("-")


def _memory(bundle: Bundle, cpus: int) -> _Memory:
    settings, decoders = ServerSettings(), max(2, cpus)
    models = [artifact.size_bytes for artifact in bundle.manifest.artifacts if artifact.role in ("model", "mnn")]
    return _Memory(
        decoders=decoders,
        decode=math.ceil(decoders * settings.max_pixels * _DECODE_BYTES_PER_PIXEL / _MIB),
        bodies=settings.max_held_bytes // _MIB,
        model=math.ceil(max(models, default=0) / _MIB),
    )


def _readme(bundle: Bundle, image: str, needed: _Memory, words: dict[str, object], *, gpu: bool) -> str:
    contract = bundle.manifest.contract
    return _README.format(
        **words
        | {
            "image": image,
            "gpu_option": " --gpu" if gpu else "",
            "file": FILE,
            "model": model_name(bundle.manifest.name),
            "height": contract.height,
            "width": contract.width,
            "process_mib": _PROCESS_MIB,
            "decode_mib": needed.decode,
            "decoders": needed.decoders,
            "bodies_mib": needed.bodies,
            "model_mib": needed.model,
        }
    )
