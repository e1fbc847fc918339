# One image for every program: producer, consumer, infra.
FROM python:3.12-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE _braid.pyx _braid.pxd _braid.pyi ./
COPY kernels kernels
COPY braid braid
COPY runtime runtime
COPY delivery delivery
COPY memmodel memmodel
COPY producer producer
COPY consumer consumer
COPY infra infra
COPY shardlift shardlift
RUN pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.12-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl && rm -rf /wheels && useradd --create-home worker
USER worker
WORKDIR /home/worker
# Cloud Run sends SIGTERM to this process: the worker hands its message back at once.
ENTRYPOINT ["python", "-m"]
CMD ["consumer", "work", "--tier", "2gi"]
