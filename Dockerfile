# syntax=docker/dockerfile:1
# Pin it by digest where you build for production; `--build-context base=docker-image://IMAGE` takes another, which needs
# Python 3.11 or newer with venv. No argument, because update bots read no variables in FROM. 3.13 is the newest that the
# test suite has passed on; every locked package has wheels for it, and for 3.14.
FROM python:3.13-slim-bookworm AS base

# Named build context: `--build-context wheels=DIR` replaces this empty stage, for builds without a package index.
FROM scratch AS wheels

FROM base AS build
ARG PIP_NO_INDEX
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_FIND_LINKS=/wheels

# What builds the wheel is pinned by hash too, and stays in this stage.
COPY deploy/build.lock /src/deploy/
RUN --mount=type=bind,from=wheels,target=/wheels \
    python3 -m venv /build \
    && /build/bin/pip install --no-deps --require-hashes --only-binary=:all: --requirement /src/deploy/build.lock

# The dependencies before the code: a change of the code leaves their layer alone.
COPY requirements.lock /src/
RUN --mount=type=bind,from=wheels,target=/wheels \
    python3 -m venv --without-pip /opt/ratings-gateway \
    && /build/bin/pip --python /opt/ratings-gateway/bin/python install \
        --no-deps --require-hashes --only-binary=:all: --requirement /src/requirements.lock

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
# The ops listener shows it; the package links to it.
COPY deploy/runbook.md deploy/
# Bytecode by hash and unchecked: a read-only root cannot write any later, and no file's time matters.
RUN /build/bin/hatchling build --target wheel --directory /dist \
    && /build/bin/pip --python /opt/ratings-gateway/bin/python install --no-deps --no-index /dist/*.whl \
    && /opt/ratings-gateway/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/ratings-gateway

FROM base
# Base images come without the bytecode of the standard library, which would be compiled at every start.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash \
        -x '/(test|tests|idlelib|lib2to3|turtledemo|site-packages|dist-packages)/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"
COPY --from=build /opt/ratings-gateway /opt/ratings-gateway
ENV PATH=/opt/ratings-gateway/bin:/usr/local/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1

WORKDIR /
USER 65532:65532
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s CMD ["ratings-gateway", "healthcheck"]
ENTRYPOINT ["ratings-gateway"]
CMD ["serve"]

# Last: they change with every commit and would throw away every layer below.
ARG VERSION
ARG REVISION
ARG CREATED
LABEL org.opencontainers.image.title="ratings-gateway" \
      org.opencontainers.image.description="A caching sidecar for Apple Music's ratings API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
