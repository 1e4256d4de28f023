# Ringyard's three images: `docker build --target operator .`, and trainer, serving; with docker, podman or buildah. `make images` builds the same
# files faster for the test cluster (hack/images/README.md). Layers go from what rarely changes to what often does: base, other people's
# packages (trainer and serving share the large one), our code. BASE: any Debian with Python 3.11 or newer. BUILDER: the same, with pip or uv.
ARG BASE=python:3.11-slim-bookworm
ARG BUILDER=${BASE}

FROM ${BASE} AS base
# No installer, nothing that raises rights, and a name for the user: PyTorch asks for one.
RUN rm -rf /usr/local/lib/python3*/site-packages/* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip* /usr/local/bin/wheel \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && { grep -q :65532: /etc/passwd || echo ringyard:x:65532:65532::/tmp:/usr/sbin/nologin >>/etc/passwd; } \
 && { grep -q :65532: /etc/group || echo ringyard:x:65532: >>/etc/group; }
ENV PATH=/opt/ringyard/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ENV HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER 65532:65532

FROM ${BUILDER} AS builder
WORKDIR /ringyard
COPY constraints.txt hack/images/install ./
RUN command -v uv >/dev/null || python3 -m pip install --no-cache-dir "$(grep ^uv== constraints.txt)"

FROM builder AS lists
COPY pyproject.toml ./
RUN ./install lists /lists

FROM builder AS code
COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY operator operator
COPY trainer trainer
COPY serving serving
RUN for image in operator trainer serving; do ./install code $image /$image && ./install bytecode /$image; done

FROM builder AS operator-packages
COPY --from=lists /lists/operator /list
RUN ./install third-party /list /made && ./install bytecode /made

FROM base AS operator
COPY --from=operator-packages /made/ /
COPY --from=code /operator/ /
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ringyard operator" org.opencontainers.image.description="Looks after TrainingJobs and ModelEndpoints"
LABEL org.opencontainers.image.licenses=Apache-2.0 org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION}
ENTRYPOINT ["python", "-m", "ringyard_operator"]

FROM builder AS torch-packages
COPY --from=lists /lists/torch /list
RUN ./install third-party /list /made && ./install bytecode /made

FROM builder AS trainer-packages
COPY --from=lists /lists/trainer /list
RUN ./install third-party /list /made && ./install bytecode /made

FROM builder AS serving-packages
COPY --from=lists /lists/serving /list
RUN ./install third-party /list /made && ./install bytecode /made

FROM base AS torch
COPY --from=torch-packages /made/ /

FROM torch AS trainer
COPY --from=trainer-packages /made/ /
COPY --from=code /trainer/ /
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ringyard trainer" org.opencontainers.image.description="A worker of a TrainingJob, with PyTorch"
LABEL org.opencontainers.image.licenses=Apache-2.0 org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION}
ENTRYPOINT ["ringyard-worker"]

FROM torch AS serving
COPY --from=serving-packages /made/ /
COPY --from=code /serving/ /
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Ringyard model server" org.opencontainers.image.description="Serves models by the Open Inference Protocol v2 over gRPC"
LABEL org.opencontainers.image.licenses=Apache-2.0 org.opencontainers.image.version=${VERSION} org.opencontainers.image.revision=${REVISION}
ENTRYPOINT ["python", "-m", "ringyard_serving"]
