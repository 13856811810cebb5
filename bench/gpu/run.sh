#!/bin/sh
# Unpacks what bench/gpu/pack.ts has packed and runs `deno task bench:gpu`, on a machine without a network.
# Usage: sh run.sh <folder of results> [flags of bench:gpu]. UNPACKED=<folder> says where it is unpacked to.
set -eu
packed=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { echo "Usage: sh run.sh <folder of results> [flags of bench:gpu]" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
shift
to=${UNPACKED:-${TMPDIR:-/tmp}/dualora_gpu}
mkdir -p "$to"

unxz() { # file, on stdout
  if command -v xz >/dev/null; then xz -dc "$1"; else
    python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.argv[1]), sys.stdout.buffer)' "$1"
  fi
}
has_library() { ldconfig -p 2>/dev/null | grep -q "$1 "; }

unxz "$packed/deno.xz" >"$to/deno"
chmod +x "$to/deno"
mkdir -p "$to/project"
unxz "$packed/project.tar.xz" | tar -xf - -C "$to/project"

# Only what the system lacks is taken from here: other versions of its own libraries can break it.
libraries=
for group in vulkan:libvulkan.so.1 x11:libX11.so.6; do
  name=${group%%:*}
  if ! has_library "${group#*:}" && [ -d "$packed/$name" ]; then
    for package in "$packed/$name"/*.deb; do dpkg -x "$package" "$to/$name"; done
    libraries=$libraries:$to/$name/usr/lib/x86_64-linux-gnu
  fi
done
[ -z "$libraries" ] || export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}$libraries"

# The loader looks in /etc and /usr/share; drivers that were mounted into a container lie elsewhere.
if [ -z "${VK_DRIVER_FILES:-}" ] && ! ls /etc/vulkan/icd.d/nvidia_icd*.json /usr/share/vulkan/icd.d/nvidia_icd*.json >/dev/null 2>&1; then
  driver=$(find /usr/local /usr/lib /usr/share /opt /run -name 'nvidia_icd*.json' 2>/dev/null | head -n 1)
  [ -z "$driver" ] || export VK_DRIVER_FILES="$driver"
fi

if [ -d "$packed/wheels" ] && ! python3 -c 'import diffusers' 2>/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$to/python" "$packed"/wheels/*.whl ||
    echo "diffusers could not be unpacked: PyTorch's pieces will have no figures" >&2
  export PYTHONPATH="$to/python${PYTHONPATH:+:$PYTHONPATH}"
fi

# Without a Vulkan driver Deno would take OpenGL without a word.
export DENO_WEBGPU_BACKEND=vulkan DENO_DIR="$to/cache" DENO_NO_UPDATE_CHECK=1 DUALORA_CACHE="$to/dualora" HF_HUB_OFFLINE=1
export PATH="$to:$PATH"
{
  echo "VK_DRIVER_FILES=${VK_DRIVER_FILES:-} LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}"
  ls /dev/nvidia* /dev/dri 2>&1 || true
  ldconfig -p 2>/dev/null | grep -E 'libvulkan|libGLX_nvidia|libX11' || true
} >"$out/setup.txt"
# Programs may write in /tmp, and are not told of another place.
unset TMPDIR
cd "$to/project"
exec "$to/deno" task bench:gpu --out="$out" "$@"
