# The responder, on CPUs, with neither vLLM nor DeepSpeed:
# docker build -f configs/kubernetes/serve.Dockerfile -t YOUR-REGISTRY/rejoinder-serve:0.1.0 .
FROM rayproject/ray:2.60.0-py311
COPY --chown=ray . /srv/rejoinder
WORKDIR /srv/rejoinder
RUN pip install uv && UV_TORCH_BACKEND=cpu uv pip install --system -e '.[onnx]' -c constraints.txt
