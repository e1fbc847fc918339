# One image for every program: producer, consumer, infra, shardlift.
# `infra up` builds it where Cloud Run is, from an archive of what is copied here; by hand:
#   docker build -t shardlift .
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt setup.py README.md LICENSE _braid.pyx _braid.pxd _braid.pyi ./
COPY kernels kernels
COPY braid braid
COPY runtime runtime
COPY delivery delivery
COPY memmodel memmodel
COPY producer producer
COPY consumer consumer
COPY infra infra
COPY shardlift shardlift
RUN pip wheel --no-cache-dir -c constraints.txt --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl && rm -rf /wheels && useradd --uid 10001 --create-home worker
LABEL org.opencontainers.image.title="shardlift" \
      org.opencontainers.image.description="DVID segmentation exports to sharded Neuroglancer volumes, moved by queue workers" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="BSD-3-Clause"
# By number: Kubernetes cannot see that a name is not root's (`runAsNonRoot`).
USER 10001
WORKDIR /home/worker
# Cloud Run sends SIGTERM to this process: the worker hands its message back at once.
ENTRYPOINT ["python", "-m"]
CMD ["consumer", "work", "--tier", "2gi"]
