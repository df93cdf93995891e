#!/bin/sh
# Makes the environments of the programs that the benchmarks run beside ours:  sh benchmarks/peers/setup.sh FOLDER
#
#   FOLDER/clip-retrieval   clip-retrieval 2.45.0 with autofaiss 2.18.0, torch and 120 packages more: 6.4 GB, minutes
#   FOLDER/lancedb          LanceDB 0.40.0: 0.5 GB; its pyarrow is newer than clip-retrieval allows, hence two folders
#
# setuptools 80.9.0, because clip-retrieval imports pkg_resources, which setuptools 82 no longer has. torch is the version
# of the project's own environment, so that both multiply with the same library. sentence-transformers and open_clip run
# in the project's own environment: pip install -e ".[sentences]".
set -eu

folder=${1:?usage: sh benchmarks/peers/setup.sh FOLDER}
python=${PYTHON:-python3.11}
torch=$("${PROJECT_PYTHON:-.venv/bin/python}" -c 'import importlib.metadata as m; print(m.version("torch").split("+")[0])')

make_environment() {  # NAME PACKAGES...
    name=$1 && shift
    test -x "$folder/$name/bin/python" || "$python" -m venv "$folder/$name"
    "$folder/$name/bin/pip" install --quiet --disable-pip-version-check "$@"
}

mkdir -p "$folder"
make_environment clip-retrieval "torch==$torch" "setuptools==80.9.0" "clip-retrieval==2.45.0" "autofaiss==2.18.0"
make_environment lancedb "lancedb==0.40.0" numpy

"$folder/clip-retrieval/bin/python" -c 'import autofaiss, clip_retrieval.clip_inference.mapper'
"$folder/lancedb/bin/python" -c 'import lancedb'
echo "ready: $folder"
