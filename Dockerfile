# Two images from one file:
#   docker build --target daemon  -t anomalyd .            small, no TensorFlow
#   docker build --target trainer -t anomalyd-trainer .    the same and what training needs
# BASE may be any Debian image that has python3.11 with venv.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
COPY requirements/build.txt requirements/daemon.txt /requirements/
RUN python3 -m venv /build \
 && /build/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r /requirements/build.txt \
 && python3 -m venv --without-pip /opt/anomalyd \
 && /build/bin/pip --python /opt/anomalyd/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r /requirements/daemon.txt

FROM build AS wheel
WORKDIR /src
COPY . .
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM build AS daemon-files
COPY --from=wheel /wheels /wheels
RUN /build/bin/pip --python /opt/anomalyd/bin/python install --no-cache-dir --no-deps /wheels/*.whl

FROM build AS trainer-files
COPY requirements/trainer.txt /requirements/
RUN /build/bin/pip --python /opt/anomalyd/bin/python install --no-cache-dir --only-binary :all: --require-hashes -r /requirements/trainer.txt
COPY --from=wheel /wheels /wheels
RUN /build/bin/pip --python /opt/anomalyd/bin/python install --no-cache-dir --no-deps /wheels/*.whl

FROM ${BASE} AS runtime
RUN useradd --system --uid 10001 --user-group --home-dir /var/lib/anomalyd --shell /usr/sbin/nologin anomalyd \
 && install -d -m 700 -o anomalyd -g anomalyd /var/lib/anomalyd \
 && install -d /etc/anomalyd
# The root file system may be read-only: bytecode was compiled while the image was built.
ENV PATH=/opt/anomalyd/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="anomalyd" \
      org.opencontainers.image.description="Watches machines over MQTT with an autoencoder and raises alerts" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
WORKDIR /var/lib/anomalyd
VOLUME /var/lib/anomalyd
STOPSIGNAL SIGTERM
ENTRYPOINT ["anomalyd"]

FROM runtime AS trainer
COPY --from=trainer-files /opt/anomalyd /opt/anomalyd
CMD ["retrain"]

FROM runtime AS daemon
COPY --from=daemon-files /opt/anomalyd /opt/anomalyd
# The daemon touches this file every second while its loop turns; what it is waiting for, its status says.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-c", \
  "import os, time; raise SystemExit(time.time() - os.stat('/var/lib/anomalyd/alive').st_mtime > 30)"]
CMD ["run"]
