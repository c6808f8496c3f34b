# One image for the operator, every component of a desk, the store and helm test. It installs what `make wheelhouse` put
# into build/wheelhouse and asks no package index for anything, so it builds wherever the base image can be had:
#   make wheelhouse image BASE_IMAGE=my.mirror/python:3.11-slim
ARG BASE_IMAGE=python:3.11-slim

FROM ${BASE_IMAGE} AS build
COPY build/wheelhouse /wheelhouse
# The environment gets no pip: nothing can be installed into the running image.
RUN python -m venv --without-pip /opt/breakwater \
    && python -m pip --python /opt/breakwater/bin/python install \
        --no-index --find-links /wheelhouse --no-compile --no-cache-dir --disable-pip-version-check "breakwater[operator]" \
    # By hash, not by time: layers do not keep times, and the file system is read-only when the image runs.
    && /opt/breakwater/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/breakwater/lib \
    && ln -s "$(/opt/breakwater/bin/python -c 'from breakwater.runtime.valkey_server import find_server; print(find_server())')" \
        /opt/breakwater/bin/valkey-server

FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=""
LABEL org.opencontainers.image.title="breakwater" \
      org.opencontainers.image.description="Runs crypto-futures trading desks on Kubernetes and keeps them from hurting their owner." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/breakwater /opt/breakwater
# USER and HOME: whatever number the pod runs under has no entry in /etc/passwd.
ENV PATH="/opt/breakwater/bin:/usr/local/bin:/usr/bin:/bin" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    USER=breakwater
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
STOPSIGNAL SIGTERM
CMD ["breakwater", "--help"]
