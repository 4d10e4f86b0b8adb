# The book for a class: JupyterLab on its chapters, for mybinder.org, a JupyterHub, or one machine:
#   docker build -t mlipbook . && docker run --rm -p 8888:8888 mlipbook
FROM python:3.13-slim

# A compiler makes molecular dynamics several times faster (mb.fast).
RUN apt-get update -q && apt-get install -q -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

# Binder and JupyterHub run as this user, with these names.
ARG NB_USER=reader
ARG NB_UID=1000
ENV USER=${NB_USER} HOME=/home/${NB_USER} OMP_NUM_THREADS=1
RUN useradd --create-home --uid ${NB_UID} ${NB_USER}
WORKDIR ${HOME}

COPY --chown=${NB_UID} . mlipbook
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu \
    -c mlipbook/constraints.txt "./mlipbook[lab]" jupyterhub
USER ${NB_USER}
WORKDIR ${HOME}/mlipbook/book
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
