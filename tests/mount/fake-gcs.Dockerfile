# The real fake-gcs-server, for tests: the interface of Cloud Storage, with objects in memory. Its folder is the context.
FROM scratch
COPY fake-gcs-server-linux-amd64 /fake-gcs-server
USER 1000:1000
ENTRYPOINT ["/fake-gcs-server", "-backend", "memory", "-scheme", "http"]
