# One image for every part of Retouch: `docker run retouch worker`, `retouch flower`, `retouch doctor`…
FROM python:3.11-slim AS build
WORKDIR /src
# Behind a proxy with a certificate of its own: `docker build --secret id=ca,src=ca-certificates.crt .`
ENV UV_SYSTEM_CERTS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Compiled here, for the user that runs may not write beside the sources: each start would compile 1,600 modules.
COPY bootstrap.lock image.lock ./
RUN --mount=type=secret,id=ca \
    if [ -s /run/secrets/ca ]; then export SSL_CERT_FILE=/run/secrets/ca PIP_CERT=/run/secrets/ca; fi \
    && python -m venv /opt/tools \
    && /opt/tools/bin/pip install --quiet --no-cache-dir --require-hashes -r bootstrap.lock \
    && python -m venv --without-pip /opt/retouch \
    && /opt/tools/bin/uv pip sync --quiet --no-cache --compile-bytecode --python /opt/retouch/bin/python --require-hashes image.lock
COPY pyproject.toml README.md LICENSE ./
COPY retouch retouch
COPY producer producer
COPY worker worker
COPY ops ops
RUN for folder in . producer worker ops; do \
        /opt/tools/bin/uv build --quiet --wheel --no-build-isolation --python /opt/tools/bin/python --out-dir /dist $folder || exit 1; done \
    && /opt/tools/bin/uv pip install --quiet --no-cache --compile-bytecode --no-deps --python /opt/retouch/bin/python /dist/*.whl

FROM python:3.11-slim
ENV PATH=/opt/retouch/bin:$PATH PYTHONUNBUFFERED=1
# The one folder that is written to: mount a volume here, or name another store. Without one a worker does not start.
ENV RETOUCH_STORE_URL=file:///var/lib/retouch/blobs
# A fixed number, so that a volume's files have the same owner on every machine.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin retouch \
    && install -d -o retouch -g retouch /var/lib/retouch /var/lib/retouch/blobs
COPY --from=build /opt/retouch /opt/retouch
WORKDIR /var/lib/retouch
USER 10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["retouch"]
CMD ["--help"]
