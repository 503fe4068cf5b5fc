# The image of Dataflow's Flex template: an image for workers (docker/Dockerfile) with the launcher beside it, so that it serves as
# both; from the folder with setup.py:
#
#   docker build -f docker/flex_template.Dockerfile -t REGISTRY/labelbeam:template --build-arg IMAGE=REGISTRY/labelbeam:cuda .
ARG IMAGE
ARG LAUNCHER=gcr.io/dataflow-templates-base/python311-template-launcher-base
FROM ${LAUNCHER} AS launcher

FROM ${IMAGE}
COPY --from=launcher /opt/google/dataflow/python_template_launcher /opt/google/dataflow/python_template_launcher
COPY docker/flex_template.py /opt/labelbeam/flex_template.py
ENV FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/labelbeam/flex_template.py

# /opt/apache/beam/boot stays the entrypoint, for workers.
